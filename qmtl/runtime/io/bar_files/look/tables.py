"""The tables in a sample, each with a small file of its own that the reader can be tried on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from qmtl.foundation.errors import InvalidRequestError
from qmtl.runtime.io.bar_files.byte_order import mark_of, width_of
from qmtl.runtime.io.bar_files.json_text import parsed
from qmtl.runtime.io.bar_files.look.contents import Contents
from qmtl.runtime.io.bar_files.look.documents import Part, closed, parts_of
from qmtl.runtime.io.bar_files.look.encodings import decoded, encoding_of, lines_of, visible
from qmtl.runtime.io.bar_files.look.layout import Layout, layout_of
from qmtl.runtime.io.bar_files.look.sample import Sample, longer_sample

_ROWS = 500  # of a table that is no text
_NAMES = {"\t": "tabs", " ": "blanks"}


@dataclass(frozen=True)
class Table:
    """layout: its columns and rows; None if lines form none. head, end: files to try the reader on: the start
    of the table, and its end if that was read apart. options: those that every way of reading it needs.
    command_only: those that belong into a command, but not into a trial on `head`. is_text: whether it has
    lines and separators. temporal: places of columns whose type says that they are times. facts, first, last:
    for people. lines: all that were seen of the start; end_lines: of the end, or of the start if it is all.
    doubt: what else its bytes may mean, if their encoding is not known.
    """

    layout: Layout | None
    head: Path
    end: Path | None
    options: dict[str, Any]
    command_only: dict[str, Any]
    is_text: bool
    temporal: frozenset[int] = frozenset()
    facts: tuple[tuple[str, str], ...] = ()
    first: tuple[tuple[int, str], ...] = ()
    last: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()
    end_lines: tuple[str, ...] = ()
    doubt: str | None = None


def tables_of(sample: Sample, contents: Contents, folder: Path, given: Mapping[str, Any]) -> list[Table]:
    """All tables of a file, the likeliest first. Raises `InvalidRequestError` if it cannot be read at all."""
    command_only = {"table": sample.member} if sample.member and sample.others else {}
    if contents.kind == "text":
        return [_text(sample, folder, given, command_only)]
    if contents.kind == "json":
        return list(_json(sample, folder))
    return [_typed(sample, contents, folder)]


def _text(sample: Sample, folder: Path, given: Mapping[str, Any], command_only: dict[str, Any]) -> Table:
    encoding = encoding_of(sample.head)
    name = given.get("encoding") or encoding.name
    try:
        lines = lines_of(decoded(sample.head, name))
    except UnicodeError as error:  # of encodings that allow for no replacement
        step = "leave out `encoding=`, or name another"
        raise InvalidRequestError(f"{sample.name} is not {name}", why=str(error), next_step=step) from error
    if not sample.whole:
        lines = lines[:-1]  # it is cut
    found = mark_of(sample.head)
    mark, body = (b"", name) if found is None else (found.bytes, found.body)
    end, tail = _last_lines(sample, body)
    layout = layout_of(lines, end=end, separator=given.get("separator"))
    suffix = sample.suffix if sample.suffix in (".csv", ".tsv", ".txt") else ".csv"
    head, last = folder / f"head{suffix}", folder / f"end{suffix}"
    # A complete sample is tried as it is; of a cut one, the complete lines.
    head.write_bytes(sample.head if sample.whole else _encoded(lines, name))
    above = lines[: layout.first - 1] if layout is not None else []
    if end:
        last.write_bytes(mark + _encoded(above, body) + tail)
    is_given = bool(given.get("encoding"))
    facts = [("encoding", f"{name}, as given" if is_given else encoding.what)]
    if layout is not None:
        facts.append(("fields", f"separated by {_NAMES.get(layout.separator, repr(layout.separator))}"))
    return Table(
        layout=layout,
        head=head,
        end=last if end else None,
        options={} if encoding.option is None else {"encoding": encoding.option},
        command_only=command_only,
        is_text=True,
        facts=tuple(facts),
        first=tuple((number, visible(line)) for number, line in enumerate(lines[:6], 1)),
        last=tuple(visible(line) for line in (end or (lines if sample.whole else []))[-2:]),
        lines=tuple(lines),
        end_lines=tuple(end or lines),
        doubt=None if is_given else encoding.doubt,
    )


def _encoded(lines: Sequence[str], encoding: str) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode(encoding, errors="replace")


def _last_lines(sample: Sample, body: str) -> tuple[list[str], bytes]:
    """The lines at the end of a longer file, and their bytes; the first line of its last bytes is cut."""
    width = width_of(body)
    data = sample.tail[(len(sample.tail) - sample.size) % width :]
    for mark in ("\n".encode(body), "\r".encode(body)):
        for found in re.finditer(re.escape(mark), data):
            if found.start() % width == 0:
                data = data[found.end() :]
                return lines_of(decoded(data, body)), data
    return [], b""


def _json(sample: Sample, folder: Path) -> Iterator[Table]:
    text = decoded(sample.head, "utf-8-sig")
    try:
        parts = parts_of(text, whole=sample.whole)
        if not parts and not sample.whole:
            sample = longer_sample(sample)
            text = decoded(sample.head, "utf-8-sig")
            parts = parts_of(text, whole=sample.whole)
    except ValueError as error:
        raise InvalidRequestError(
            f"{sample.name} is no JSON that can be read", why=str(error), next_step="fetch it again"
        ) from error
    lines = lines_of(text)
    head = folder / f"head{sample.suffix if sample.suffix in ('.json', '.jsonl', '.ndjson') else '.json'}"
    head.write_text(text if sample.whole else _closed(text), encoding="utf-8")
    shown = tuple((number, visible(line)) for number, line in enumerate(lines[:6], 1))
    for part in parts:
        where = ".".join(part.keys)
        yield Table(
            layout=_layout(part.names, part.rows),
            head=head,
            end=None,
            options={"table": where} if where else {},
            command_only={},
            is_text=False,
            facts=(("table", f"under {where!r}" if where else "the whole"), _kind(part)),
            first=shown,
            lines=tuple(",".join(row) for row in part.rows),
        )
    if not parts:
        yield Table(None, head, None, {}, {}, is_text=False, first=shown)


def _kind(part: Part) -> tuple[str, str]:
    return ("rows", f"{len(part.rows)} seen, {'with' if any(part.names) else 'without'} names of columns")


def _closed(text: str) -> str:
    try:
        parsed(closed_text := closed(text))
    except ValueError:  # one value on each line
        closed_text = text[: text.rindex("\n") + 1]
    return closed_text


def _typed(sample: Sample, contents: Contents, folder: Path) -> Table:
    """The first rows of a Parquet or Arrow file; its columns have types."""
    if sample.is_packed:
        raise InvalidRequestError(
            f"{sample.name} is {contents.what} inside a packed file",
            next_step="unpack it, and look at what it holds",
        )
    try:
        scan = pl.scan_parquet if contents.kind == "parquet" else pl.scan_ipc
        frame = scan(sample.path).head(_ROWS).collect()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise InvalidRequestError(
            f"{sample.name} cannot be read as {contents.what}",
            why=str(error).splitlines()[0],
            next_step="fetch it again if it is damaged or cut",
        ) from error
    head = folder / "head.parquet"
    frame.write_parquet(head)
    rows = [tuple("" if cell is None else str(cell) for cell in row) for row in frame.rows()]
    types = ", ".join(f"{name}: {dtype}" for name, dtype in frame.schema.items())
    return Table(
        layout=_layout(tuple(frame.columns), rows),
        head=head,
        end=None,
        options={},
        command_only={},
        is_text=False,
        temporal=frozenset(place for place, dtype in enumerate(frame.dtypes) if dtype.is_temporal()),
        facts=(("columns", types),),
        first=tuple((number, visible(",".join(row))) for number, row in enumerate(rows[:6], 1)),
        lines=tuple(",".join(row) for row in rows),
    )


def _layout(names: Sequence[str], rows: Sequence[tuple[str, ...]]) -> Layout | None:
    """The layout of a table whose columns and rows are known."""
    if not rows:
        return None
    named = any(names)
    return Layout("", (tuple(names),) if named else (), 0 if named else None, tuple(names), tuple(rows), 1, 0)
