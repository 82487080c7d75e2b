"""From the bytes of a text file to UTF-8 without its last lines, in a stream."""

from __future__ import annotations

import codecs
import io
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qmtl.foundation.errors import InvalidRequestError
from qmtl.runtime.io.bar_files.byte_order import mark_of
from qmtl.runtime.io.bar_files.options import Reading
from qmtl.runtime.io.bar_files.unpacking import FORMATS, PlainFile

_BLOCK = 1 << 20
# The reasons that decoders give for bytes that end within a character.
_CUT = ("truncated data", "unexpected end of data", "incomplete multibyte sequence")
_BLANKS = re.compile(rb" {2,}")


@contextmanager
def text_file(file: PlainFile, reading: Reading) -> Iterator[PlainFile]:
    """The same lines in UTF-8, without those that `reading.skip_foot` leaves out.

    Fields that blanks separate may be aligned by more of them: a run of blanks counts as one. A file that is
    so already is not copied. Lines keep their numbers. Raises `InvalidRequestError` with the
    line where the file does not decode.
    """
    is_text = FORMATS.get(file.suffix) == "csv"
    encoding = _encoding_of(file, reading.encoding) if is_text else None
    is_aligned = reading.separator == " "
    if not is_text or (encoding is None and not reading.skip_foot and not is_aligned):
        yield file
        return
    with tempfile.TemporaryDirectory(prefix="qmtl-") as folder:
        content = Path(folder, "text")
        try:
            if encoding is None:
                _copy(file.path, content)
            else:
                _decode(file, encoding, content)
            if is_aligned:
                content = _with_single_blanks(content, Path(folder, "aligned"))
            if reading.skip_foot:
                os.truncate(content, _start_of_foot(content, reading.skip_foot))
        except OSError as error:
            raise InvalidRequestError(
                f"{file.name} cannot be decoded",
                why=f"{error.strerror} in the temporary folder {folder}",
                next_step="make room there, or name another folder in TMPDIR",
            ) from error
        yield file._replace(path=content)


def _encoding_of(file: PlainFile, declared: str | None) -> str | None:
    """What the file has to be decoded from; None if it is UTF-8, whose mark all readers here understand."""
    with file.path.open("rb") as stream:
        mark = mark_of(stream.read(4))
    marked = None if mark is None else mark.encoding
    if declared is not None and marked is not None and codecs.lookup(marked).name != declared:
        detected = "utf-8" if marked == "utf-8-sig" else marked
        if not declared.startswith(detected):
            raise InvalidRequestError(
                f"{file.name} is not {declared}",
                why=f"the mark at its start says that it is {detected}",
                next_step=f"leave out `encoding=`, or say `encoding={detected}`",
            )
    name = marked or declared
    return None if name is None or name in ("utf-8", "utf-8-sig", "ascii") else name


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as reader, target.open("wb") as writer:
        while block := reader.read(_BLOCK):
            writer.write(block)


def _with_single_blanks(source: Path, target: Path) -> Path:
    """The same lines, with one blank for each run of them: columns that are aligned for the eye."""
    with source.open("rb") as reader, target.open("wb") as writer:
        for line in reader:
            body = line.rstrip(b"\r\n")
            writer.write(_BLANKS.sub(b" ", body).strip(b" ") + line[len(body) :])
    return target


def _decode(file: PlainFile, encoding: str, target: Path) -> None:
    with file.path.open("rb") as stream, target.open("wb") as writer:
        reader = io.TextIOWrapper(stream, encoding, newline="")
        try:
            while block := reader.read(_BLOCK):
                writer.write(block.encode())
        except UnicodeError as error:
            line = _line_of_fault(file.path, encoding)
            is_cut = isinstance(error, UnicodeDecodeError) and error.reason in _CUT
            raise InvalidRequestError(
                f"{file.name}, line {line}: this is not {encoding}",
                why=str(error),
                next_step="the file was cut off within a character: fetch it again"
                if is_cut
                else "say how the file is encoded, for example `encoding=cp1252`",
            ) from error


def _line_of_fault(path: Path, encoding: str) -> int:
    """The first line with bytes that do not decode, which the error of a stream decoder does not give."""
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
