"""From a file as it was delivered to one plain file that can be scanned."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple, cast

import zstandard

from qmtl.foundation.errors import InvalidRequestError
from qmtl.runtime.io.bar_files.contents import HEAD, refuse_page

# What the suffix of a name says of its content.
FORMATS = {
    ".csv": "csv",
    ".txt": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".feather": "arrow",
    ".arrow": "arrow",
    ".ipc": "arrow",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
}


# What the libraries raise for a file that is damaged, cut, or packed in a way that is not known. zipfile says
# RuntimeError of an encrypted member, NotImplementedError of an unknown packing.
UNPACKING_ERRORS = (
    OSError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    zstandard.ZstdError,
    EOFError,
    RuntimeError,
    NotImplementedError,
)


class PlainFile(NamedTuple):
    """A file without packing: where it lies for the while, what to call it, and the suffix of its content."""

    path: Path
    name: str
    suffix: str


def _open_gz(path: Path) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(path))


def _open_zst(path: Path) -> IO[bytes]:
    return cast("IO[bytes]", zstandard.open(path, "rb"))


STREAMS: dict[str, Callable[[Path], IO[bytes]]] = {
    ".gz": _open_gz,
    ".bz2": bz2.open,
    ".xz": lzma.open,
    ".zst": _open_zst,
}
PACKINGS = (*STREAMS, ".zip")
_ARCHIVES = (".tar", ".tgz", ".tbz", ".txz", ".7z", ".rar")


@contextmanager
def plain_file(path: Path, member: str | None = None) -> Iterator[PlainFile]:
    """The file itself, or what it holds where it is packed, unpacked for the while.

    `.gz .bz2 .xz .zst` hold one file; of a `.zip` with several `member` names the one that is meant.
    Unpacking streams through a temporary file, so that memory does not grow with the file. Raises
    `InvalidRequestError` if there is no such file, or it cannot be unpacked.
    """
    _check(path)
    packing = path.suffix.lower()
    if packing in _ARCHIVES or path.stem.lower().endswith(".tar"):
        raise _archive(path)
    if packing not in PACKINGS:
        yield PlainFile(path, str(path), packing)
        return
    with path.open("rb") as stream:
        refuse_page(stream.read(HEAD), str(path))
    with tempfile.TemporaryDirectory(prefix="qmtl-") as folder:
        content = Path(folder, "content")
        try:
            inside = _unpack(path, member, content)
        except UNPACKING_ERRORS as error:
            raise InvalidRequestError(
                f"{path} cannot be unpacked",
                why=str(error),
                next_step="fetch it again if it is damaged or cut, or unpack it by hand",
            ) from error
        if _is_tar(content):
            raise _archive(path)
        name = f"{path} ({inside})" if packing == ".zip" else str(path)
        yield PlainFile(content, name, Path(inside).suffix.lower())


def _check(path: Path) -> None:
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


def _archive(path: Path) -> InvalidRequestError:
    return InvalidRequestError(
        f"{path} is an archive of several files",
        why="of archives only zip is read",
        next_step="unpack it, and import the folder or its files",
    )


def _is_tar(content: Path) -> bool:
    with content.open("rb") as stream:
        head = stream.read(512)
    return head[257:262] == b"ustar"


def _unpack(path: Path, member: str | None, content: Path) -> str:
    """Write what the file holds to `content`; the name that it bears inside."""
    if path.suffix.lower() != ".zip":
        with STREAMS[path.suffix.lower()](path) as packed:
            _copy(packed, content)
        return path.stem
    with zipfile.ZipFile(path) as archive:
        inside = _member(archive, path, member)
        with archive.open(inside) as packed:
            _copy(packed, content)
    return inside


def _member(archive: zipfile.ZipFile, path: Path, wanted: str | None) -> str:
    names = [member.filename for member in archive.infolist() if not member.is_dir()]
    # macOS adds a shadow of each file, which no user has ever asked for.
    names = [name for name in names if not name.startswith("__MACOSX/")]
    shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    if wanted is not None:
        named = [name for name in names if name == wanted or Path(name).name == wanted]
        if len(named) != 1:
            raise InvalidRequestError(
                f"{path} holds {'no file' if not named else 'several files'} called {wanted!r}",
                why=f"it holds: {shown or 'nothing'}",
                next_step="name one of them with `table=NAME`",
            )
        return named[0]
    # Checksums and read-me files beside it are no tables.
    members = [name for name in names if Path(name).suffix.lower() in FORMATS] or names
    if len(members) != 1:
        raise InvalidRequestError(
            f"{path} holds {len(members)} files" if members else f"{path} holds no file",
            why=f"one series is read from one of them; it holds: {shown or 'nothing'}",
            next_step=f"name the one that is meant, for example `table={members[0]}`"
            if members
            else "check the export that wrote it",
        )
    return members[0]


def _copy(packed: IO[bytes], content: Path) -> None:
    with content.open("wb") as target:
        shutil.copyfileobj(packed, target, 1 << 20)
