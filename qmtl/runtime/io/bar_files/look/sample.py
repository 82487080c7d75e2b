"""The first and the last bytes of a file: all that a look ever reads of it."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from qmtl.foundation.errors import InvalidRequestError
from qmtl.runtime.io.bar_files.unpacking import FORMATS, STREAMS, UNPACKING_ERRORS

HEAD = 1 << 16
TAIL = 1 << 15
LONG = 1 << 24

_PACKED = (b"\x1f\x8b", b"BZh", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\0")


@dataclass(frozen=True)
class Sample:
    """What was read of a file.

    path: the file. name: what to call it in messages, with the member of a zip. suffix: of its content.
    size: bytes of the file on disk.
    head: its first bytes, unpacked. tail: its last bytes; they start where `head` ends if the two meet, and
        are empty if `head` is all, or if the end of a packed file could only be reached through all of it.
    whole: whether `head` is all there is. member: of a zip, the file that was looked at; others: those beside
    it.
    """

    path: Path
    name: str
    suffix: str
    size: int
    head: bytes
    tail: bytes = b""
    whole: bool = True
    is_packed: bool = False
    member: str | None = None
    others: tuple[str, ...] = ()


def longer_sample(sample: Sample) -> Sample:
    """The same file with a longer start, for documents that cannot be understood by their first lines."""
    return take_sample(sample.path, most=LONG)


def take_sample(path: Path, *, most: int = HEAD) -> Sample:
    """At most `most` bytes from the start and `TAIL` bytes from the end. Raises `InvalidRequestError`."""
    if not path.is_file():
        why = (
            "it is a directory" if path.is_dir() else "it is no file" if path.exists() else "it is not there"
        )
        raise InvalidRequestError(f"{path} cannot be looked at", why=why, next_step="check the path")
    try:
        return _sample(path, most)
    except UNPACKING_ERRORS as error:
        raise InvalidRequestError(
            f"{path} cannot be looked at",
            why=getattr(error, "strerror", None) or str(error),
            next_step="check its permissions, or fetch it again if it is damaged or cut",
        ) from error


def _sample(path: Path, most: int) -> Sample:
    size, suffix = path.stat().st_size, path.suffix.lower()
    with path.open("rb") as stream:
        mark = stream.read(8)
        stream.seek(0)
        if suffix in STREAMS and mark.startswith(_PACKED):
            with STREAMS[suffix](path) as unpacked:
                head, whole = _head(unpacked, most)
            inner = Path(path.stem).suffix.lower()
            return Sample(path, str(path), inner, size, head, whole=whole, is_packed=True)
        if suffix == ".zip" and mark.startswith(b"PK\x03\x04"):
            with zipfile.ZipFile(stream) as archive:
                return _member(path, archive, size, most)
        head, whole = _head(stream, most)
        if whole:
            return Sample(path, str(path), suffix, size, head)
        stream.seek(max(len(head), size - TAIL))
        return Sample(path, str(path), suffix, size, head, stream.read(TAIL), whole=False)


def _head(stream: IO[bytes], most: int) -> tuple[bytes, bool]:
    head = stream.read(most + 1)
    return head[:most], len(head) <= most


def _member(path: Path, archive: zipfile.ZipFile, size: int, most: int) -> Sample:
    """The first file of bars in a zip; macOS adds shadows, and exchanges add checksums."""
    names = [member.filename for member in archive.infolist() if not member.is_dir()]
    names = [name for name in names if not name.startswith("__MACOSX/")]
    files = [name for name in names if Path(name).suffix.lower() in FORMATS] or names
    if not files:
        return Sample(path, str(path), ".zip", size, b"", is_packed=True)
    with archive.open(files[0]) as packed:
        head, whole = _head(packed, most)
    suffix = Path(files[0]).suffix.lower()
    return Sample(
        path,
        f"{path} ({files[0]})",
        suffix,
        size,
        head,
        whole=whole,
        is_packed=True,
        member=files[0],
        others=tuple(files[1:]),
    )
