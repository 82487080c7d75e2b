"""From a file as it was delivered to one plain file that can be scanned."""

from __future__ import annotations

import gzip
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from qmtl.foundation.errors import InvalidRequestError


class PlainFile(NamedTuple):
    """A file without packing: where it lies for the while, what to call it, and the suffix of its content."""

    path: Path
    name: str
    suffix: str


@contextmanager
def plain_file(path: Path) -> Iterator[PlainFile]:
    """The file itself, or what a `.gz` or a `.zip` of one member holds, unpacked for the while.

    Unpacking streams through a temporary file, so that memory does not grow with the file. Raises
    `InvalidRequestError` if there is no such file, or it cannot be unpacked.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise InvalidRequestError(
            f"{str(path)!r} cannot be read", why="its name is not UTF-8", next_step="rename it"
        ) from None
    if not path.is_file():
        kind = (
            "a directory"
            if path.is_dir()
            else "a device or a pipe, and the suffix of a file tells its format"
        )
        why = f"it is {kind}" if path.exists() else "there is no such file"
        raise InvalidRequestError(f"{path} cannot be read", why=why, next_step="check the path")
    try:
        path.open("rb").close()
    except OSError as error:
        raise InvalidRequestError(
            f"{path} cannot be read", why=error.strerror, next_step="check its permissions"
        ) from error
    if path.suffix.lower() not in (".gz", ".zip"):
        yield PlainFile(path, str(path), path.suffix.lower())
        return
    with tempfile.TemporaryDirectory(prefix="qmtl-") as folder:
        content = Path(folder, "content")
        try:
            member = _unpack(path, content)
        except (
            OSError,
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            RuntimeError,
            NotImplementedError,
        ) as error:
            # zipfile says RuntimeError of an encrypted member, NotImplementedError of an unknown packing.
            raise InvalidRequestError(
                f"{path} cannot be unpacked",
                why=str(error),
                next_step="fetch it again if it is damaged or cut, or unpack it by hand",
            ) from error
        name = str(path) if path.suffix.lower() == ".gz" else f"{path} ({member})"
        yield PlainFile(content, name, Path(member).suffix.lower())


def _unpack(path: Path, content: Path) -> str:
    """Write what the file holds to `content`; the name that it bears inside."""
    if path.suffix.lower() == ".gz":
        with gzip.open(path) as packed:
            _copy(packed, content)
        return path.stem
    with zipfile.ZipFile(path) as archive:
        member = _only_member(archive, path)
        with archive.open(member) as packed:
            _copy(packed, content)
    return member


def _only_member(archive: zipfile.ZipFile, path: Path) -> str:
    names = [member.filename for member in archive.infolist() if not member.is_dir()]
    # macOS adds a shadow of each file, which no user has ever asked for.
    members = [name for name in names if not name.startswith("__MACOSX/")]
    if len(members) != 1:
        shown = ", ".join(members[:5]) + (", ..." if len(members) > 5 else "")
        raise InvalidRequestError(
            f"{path} holds {len(members)} files" if members else f"{path} holds no file",
            why=f"a zip must hold exactly one file of bars; it holds: {shown or 'nothing'}",
            next_step="unpack it and import its files one by one",
        )
    return members[0]


def _copy(packed: IO[bytes] | gzip.GzipFile, content: Path) -> None:
    with content.open("wb") as target:
        shutil.copyfileobj(packed, target, 1 << 20)
