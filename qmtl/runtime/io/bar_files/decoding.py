"""From the bytes of a text file to UTF-8 without its last lines, in a stream."""

from __future__ import annotations

import codecs
import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qmtl.foundation.errors import InvalidRequestError
from qmtl.runtime.io.bar_files.options import Reading
from qmtl.runtime.io.bar_files.unpacking import FORMATS, PlainFile

_BLOCK = 1 << 20

# A mark at the start of a file tells its encoding; that of UTF-8 is understood by all who read it.
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


@contextmanager
def text_file(file: PlainFile, reading: Reading) -> Iterator[PlainFile]:
    """The same lines in UTF-8, without those that `reading.skip_foot` leaves out.

    A file that is so already is not copied. Lines keep their numbers. Raises `InvalidRequestError` with the
    line where the file does not decode.
    """
    is_text = FORMATS.get(file.suffix) == "csv"
    encoding = _encoding_of(file, reading.encoding) if is_text else None
    if not is_text or (encoding is None and not reading.skip_foot):
        yield file
        return
    with tempfile.TemporaryDirectory(prefix="qmtl-") as folder:
        content = Path(folder, "text")
        try:
            if encoding is None:
                _copy(file.path, content)
            else:
                _decode(file, encoding, content)
            if reading.skip_foot:
                os.truncate(content, _start_of_foot(content, reading.skip_foot))
        except OSError as error:
            raise InvalidRequestError(
                f"{file.name} cannot be decoded",
                why=f"{error.strerror} in the temporary folder {folder}",
                next_step="make room there, or name another folder in TMPDIR",
            ) from error
        yield file._replace(path=content)


def _encoding_of(file: PlainFile, said: str | None) -> str | None:
    """What the file has to be decoded from; None if it is UTF-8."""
    with file.path.open("rb") as stream:
        head = stream.read(4)
    marked = next((name for mark, name in _MARKS if head.startswith(mark)), None)
    if said is not None and marked is not None and codecs.lookup(marked).name != said:
        told = "utf-8" if marked == "utf-8-sig" else marked
        if not said.startswith(told):
            raise InvalidRequestError(
                f"{file.name} is not {said}",
                why=f"the mark at its start says that it is {told}",
                next_step=f"leave out `encoding=`, or say `encoding={told}`",
            )
    name = marked or said
    return None if name is None or name in ("utf-8", "utf-8-sig", "ascii") else name


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as reader, target.open("wb") as writer:
        while block := reader.read(_BLOCK):
            writer.write(block)


def _decode(file: PlainFile, encoding: str, target: Path) -> None:
    with file.path.open("rb") as stream, target.open("wb") as writer:
        reader = io.TextIOWrapper(stream, encoding, newline="")
        try:
            while block := reader.read(_BLOCK):
                writer.write(block.encode())
        except UnicodeError as error:
            line = _line_of_fault(file.path, encoding)
            raise InvalidRequestError(
                f"{file.name}, line {line}: this is not {encoding}",
                why=str(error),
                next_step="say how the file is encoded, for example `encoding=cp1252`",
            ) from error


def _line_of_fault(path: Path, encoding: str) -> int:
    """The first line with bytes that do not decode, which an error of a stream does not tell."""
    with path.open("rb") as stream:
        reader = io.TextIOWrapper(stream, encoding, errors="replace", newline="")
        number = 0
        for number, line in enumerate(reader, 1):
            if "\ufffd" in line:
                return number
    return number


def _start_of_foot(path: Path, lines: int) -> int:
    """Where the last `lines` lines that hold text begin, read backwards."""
    size = path.stat().st_size
    tail = b""
    with path.open("rb") as stream:
        while True:
            start = max(0, size - len(tail) - _BLOCK)
            stream.seek(start)
            tail = stream.read(size - len(tail) - start) + tail
            starts, place = [], 0
            for line in tail.splitlines(keepends=True):
                if line.strip():
                    starts.append(place)
                place += len(line)
            # The first line of the tail may be the end of a longer one.
            if start == 0 or len(starts) > lines:
                return start + starts[-lines] if len(starts) >= lines else 0
