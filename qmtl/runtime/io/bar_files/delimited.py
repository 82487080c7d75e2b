"""How a text file separates its fields, and an exact second look where a fast scan forgives too much."""

from __future__ import annotations

import csv
import re
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import NamedTuple, NoReturn

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.words import counted
from qmtl.runtime.io.bar_files.byte_order import by_zeros
from qmtl.runtime.io.bar_files.unpacking import PlainFile

# In this order: a file of tabs or semicolons may hold commas in its fields, rarely the other way round.
_SEPARATORS = ("\t", ";", ",", "|")
_BLOCK = 1 << 24
_LONGEST_LINE = 1 << 20

# How spreadsheets declare the separator, in a line before the header.
_DECLARED = re.compile(r"sep=(.)\s*")


@dataclass(frozen=True)
class Dialect:
    """`header` is empty if the file has none; `width` counts fields; `first_line` is the first with text."""

    separator: str
    width: int
    first_line: int
    header: tuple[str, ...]
    has_header: bool


def dialect_of(file: PlainFile, order: tuple[str, ...], *, skip_head: int, separator: str | None) -> Dialect:
    """The dialect of the first line behind those to skip; `order` are names that were given by position.

    A first line without any number is a header. Raises `InvalidRequestError` if there is neither a header nor
    an order, or the order does not fit.
    """
    number, line = _first_line(file, skip_head)
    declared = _DECLARED.fullmatch(line)
    if declared is not None:
        separator = separator or declared[1]
        number, line = _first_line(file, number)
    separator = separator or next((s for s in _SEPARATORS if s in line), None)
    if separator is None or separator not in line:
        looked_for = "commas, semicolons, tabs or pipes" if separator is None else repr(separator)
        further_down = "write the file as CSV; if the table begins further down, say `skip_head=N`"
        raise InvalidRequestError(
            f"{file.name}, line {number}: no separator is found",
            why=f"fields are separated by {looked_for}, and the line is {line[:80]!r}",
            next_step="name what stands between its fields with `separator=`, such as `separator=' '`"
            if _looks_like_a_bar(re.split(r"[\s,;|:~^]+", line))
            else further_down,
        )
    try:
        fields = next(csv.reader([line], delimiter=separator))
    except csv.Error as error:  # line ends of another kind, or a field without end
        _bad_record(file, number, str(error).partition(" - ")[0], "write the file as CSV with line ends \\n")
    has_header = not any(_is_number(field) for field in fields)
    if not has_header and not order:
        raise InvalidRequestError(
            f"{file.name} has no header",
            why=f"line {number} holds numbers: {line[:80]!r}",
            next_step="name its columns in their order: `columns='ts,open,high,low,close,volume'`",
        )
    if len(order) > len(fields):
        raise InvalidRequestError(
            f"{file.name}, line {number}: {len(order)} columns are named, and there are {len(fields)}",
            why=f"the line is {line[:80]!r}",
            next_step="name the columns in the order of the file",
        )
    return Dialect(separator, len(fields), number, tuple(fields) if has_header else (), has_header)


def _first_line(file: PlainFile, skip: int) -> tuple[int, str]:
    """The first line with text behind the first `skip`, and its number."""
    with file.path.open("rb") as stream:
        number = 0
        while raw := stream.readline(_LONGEST_LINE):
            number += 1
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError:
                _not_utf8(file, number)
            if "\0" in line:
                likely = by_zeros(raw) if number == 1 else None
                raise InvalidRequestError(
                    f"{file.name}, line {number}: this is not UTF-8 text",
                    why="it holds zero bytes, as UTF-16 and UTF-32 without a mark do, and what is no text",
                    next_step=f"say how the file is encoded, for example `encoding={likely or 'utf-16-le'}`",
                )
            if line.strip() and number > skip:
                return number, line.rstrip("\r\n")
    if number and skip:
        raise InvalidRequestError(
            f"{file.name} has {counted(number, 'line')}, and `skip_head={skip}` leaves none of them",
            next_step="leave out fewer lines",
        )
    raise InvalidRequestError(f"{file.name} is empty", next_step="check the export that wrote it")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


class Census(NamedTuple):
    """How many lines, separators and quotes a file has."""

    lines: int
    separators: int
    quotes: int


def check_records(
    file: PlainFile, dialect: Dialect, census: Census, skipped: int, rows: int, blank: int
) -> None:
    """Refuse short lines and fields that run over lines, which a scan accepts silently.

    Counts recognize the usual file: no quotes, one line a row, and the separators that its width demands. (A
    line with too many fields has stopped the scan already, so that no excess can hide a lack.) Only other
    files are looked at line by line. Raises `InvalidRequestError` with the line.
    """
    lines, separators, quotes = census
    per_row = dialect.width - 1
    in_header = per_row if dialect.has_header else 0
    if not quotes and lines == rows + skipped and separators == (rows - blank) * per_row + in_header:
        return
    find_bad_record(file, dialect, skipped)


def find_bad_record(file: PlainFile, dialect: Dialect, skipped: int) -> None:
    """Raise `InvalidRequestError` for the first line that is not one record of the right width, if any."""
    with closing(_lines(file)) as lines:  # a refusal leaves no file open
        reader = csv.reader(lines, delimiter=dialect.separator)
        before = 0
        try:
            for fields in reader:
                first, last, before = before + 1, reader.line_num, reader.line_num
                if last <= skipped or not fields:
                    continue
                if last != first:
                    _bad_record(
                        file, first, f"a quoted field runs on to line {last}", "write each bar on one line"
                    )
                if not any(fields) and len(fields) == dialect.width:
                    _bad_record(file, first, "all its fields are empty", "fill it, or take it out")
                if len(fields) != dialect.width:
                    step = "fix the line; if it is the last one, the file is cut short"
                    if not _looks_like_a_bar(fields):
                        step += "; lines that are no bars are left out with `skip_head=N` and `skip_foot=N`"
                    _bad_record(
                        file,
                        first,
                        f"it has {counted(len(fields), 'field')}, and the first line has {dialect.width}",
                        step,
                    )
        except csv.Error as error:
            _bad_record(file, before + 1, str(error), "fix the line")


def _looks_like_a_bar(fields: Sequence[str]) -> bool:
    """Whether a line holds a stamp and some prices, so that leaving it out must not be advised."""
    return sum(any(map(str.isdigit, field)) for field in fields) > 2


def _bad_record(file: PlainFile, line: int, why: str, next_step: str) -> NoReturn:
    raise InvalidRequestError(f"{file.name}, line {line}: this is not a record", why=why, next_step=next_step)


def census_of(file: PlainFile, separator: str) -> Census:
    """One pass over the bytes."""
    lines = separators = quotes = 0
    last = b"\n"
    with file.path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            lines += block.count(b"\n")
            separators += block.count(separator.encode())
            quotes += block.count(b'"')
            last = block[-1:]
    return Census(lines + (last != b"\n"), separators, quotes)


def _lines(file: PlainFile) -> Generator[str]:
    with file.path.open("rb") as stream:
        for number, raw in enumerate(stream, 1):
            try:
                yield raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError:
                _not_utf8(file, number)


def _not_utf8(file: PlainFile, line: int) -> NoReturn:
    raise InvalidRequestError(
        f"{file.name}, line {line}: this is not UTF-8",
        next_step="say how the file is encoded, for example `encoding=cp1252` (Excel in Western Europe)",
    )
