"""JSON as services and libraries write it: a row on each line, or tables within one document."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from qmtl.foundation.errors import InvalidRequestError
from qmtl.runtime.io.bar_files.byte_order import by_zeros, mark_of
from qmtl.runtime.io.bar_files.contents import not_a_table
from qmtl.runtime.io.bar_files.json_keyed import rows_by_time
from qmtl.runtime.io.bar_files.json_lines import array_lines, object_lines
from qmtl.runtime.io.bar_files.json_rows import JsonTable, cell_of, table_of_rows, texts_of
from qmtl.runtime.io.bar_files.json_text import parsed
from qmtl.runtime.io.bar_files.unpacking import PlainFile

# A document is read whole, and takes many times its size while it is.
LARGEST_DOCUMENT = 256 * 1024**2


def read_json(file: PlainFile, table: str | None) -> JsonTable:
    """The table of a JSON file; `table` names the keys that lead to it.

    Raises `InvalidRequestError` if there is none or, without `table`, more than one.
    """
    first = _first_line(file)
    if table is None and first is not None and (first[1] or _is_row(first[0], file)):
        return array_lines(file) if isinstance(first[0], list) else object_lines(file)
    if first is None and table is None and file.suffix != ".json":
        return object_lines(file)  # which says what is wrong with the first line
    return _of_document(_document(file), table, file.name)


def _first_line(file: PlainFile) -> tuple[Any, bool] | None:
    """The value of the first line with text, and whether there are further ones; None if it is no value."""
    with file.path.open("rb") as stream:
        filled = (line for line in stream if line.strip(b" \t\r\n\xef\xbb\xbf"))
        line = next(filled, b"")
        try:
            return parsed(line.decode("utf-8-sig")), next(filled, None) is not None
        except ValueError:
            return None


def _is_row(value: Any, file: PlainFile) -> bool:
    """Whether the only line of a file is one row, and not a document with a table in it."""
    if isinstance(value, dict):
        return file.suffix != ".json" and not any(isinstance(each, list | dict) for each in value.values())
    return (
        file.suffix != ".json"
        and isinstance(value, list)
        and bool(value)
        and not any(isinstance(each, list | dict) for each in value)
    )


def _document(file: PlainFile) -> Any:
    size = file.path.stat().st_size
    if size > LARGEST_DOCUMENT:
        raise InvalidRequestError(
            f"{file.name} is one JSON document of {size / 1024**2:,.0f} MiB",
            why=f"documents are read whole, up to {LARGEST_DOCUMENT // 1024**2} MiB; lines have no bound",
            next_step="write one row on each line, for example with: jq -c '.[]'",
        )
    try:
        return texts_of(file.path.read_text("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InvalidRequestError(
            f"{file.name} is not UTF-8, as JSON has to be",
            why=str(error),
            next_step=f"write it again as UTF-8: iconv -f {_likely_encoding(file.path)} -t UTF-8",
        ) from error
    except ValueError as error:
        raise InvalidRequestError(
            f"{file.name} cannot be read as JSON", why=str(error), next_step="check the file"
        ) from error


def _likely_encoding(path: Path) -> str:
    with path.open("rb") as stream:
        head = stream.read(512)
    mark = mark_of(head)
    return (by_zeros(head) if mark is None else mark.encoding) or "ENCODING"


def _of_document(value: Any, table: str | None, name: str) -> JsonTable:
    if value in ([], {}):
        raise InvalidRequestError(
            f"{name} holds no bars", why="it has no row", next_step="check the export that wrote it"
        )
    candidates = dict(_tables(value, ()))
    if table is not None:
        part = _at(value, table, name, candidates)
        found = dict(_tables(part, ())).get("")
        if found is None:
            raise InvalidRequestError(
                f"{name}: what {table!r} names is no table",
                why=f"tables are at: {', '.join(map(repr, candidates)) or 'nowhere'}",
                next_step="name one of them with `table=NAME`",
            )
        return _read_table(part, name, _metadata(value, table))
    if not candidates:
        raise not_a_table(value, name, "")
    if len(candidates) > 1:
        raise InvalidRequestError(
            f"{name} holds {len(candidates)} tables",
            why=f"they are at: {', '.join(map(repr, candidates))}",
            next_step=f"say which with `table={next(iter(candidates))}`",
        )
    ((path, part),) = candidates.items()
    found = _read_table(part, name, _metadata(value, path) if path else ())
    if not path:
        return found
    note = f"the table was read from {path!r}"
    return JsonTable(
        found.frame, found.lines, found.has_names, found.place, (*found.notes, note), found.metadata
    )


def _tables(value: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """Every part of a document that is a table, with the keys that lead there."""
    if _is_table(value):
        yield ".".join(path), value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _tables(inner, (*path, name))


def _is_table(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and (
            all(isinstance(row, dict) for row in value) or all(isinstance(row, list) for row in value)
        )
    return isinstance(value, dict) and (
        is_split(value) or len(_arrays(value)) > 1 or rows_by_time(value) is not None
    )


def is_split(value: dict[str, Any]) -> bool:
    """As pandas writes `orient="split"`: names in one list, rows in another."""
    rows = value.get("data")
    return (
        isinstance(value.get("columns"), list)
        and isinstance(rows, list)
        and all(isinstance(row, list) for row in rows)
    )


def _arrays(value: dict[str, Any]) -> dict[str, list[Any]]:
    """The columns of an object of equally long arrays of values, as chart services write."""
    found = {
        name: inner
        for name, inner in value.items()
        if isinstance(inner, list) and not any(isinstance(each, list | dict) for each in inner)
    }
    return found if len({len(column) for column in found.values()}) == 1 else {}


def _at(value: Any, table: str, name: str, candidates: dict[str, Any]) -> Any:
    if table in candidates:
        return candidates[table]
    for step in table.split("."):
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            raise InvalidRequestError(
                f"{name} has nothing at {table!r}",
                why=f"tables are at: {', '.join(map(repr, candidates)) or 'nowhere'}",
                next_step="name one of them with `table=NAME`",
            )
    return value


def _metadata(value: Any, path: str) -> tuple[tuple[str, str], ...]:
    """Single values on the path to the table, which describe all of its rows."""
    found: list[tuple[str, str]] = []
    for step in ["", *path.split(".")][: path.count(".") + 1]:
        value = value.get(step, value) if isinstance(value, dict) and step else value
        if isinstance(value, dict):
            found += [(name, inner) for name, inner in value.items() if isinstance(inner, str)]
    return tuple(found)


def _read_table(value: Any, name: str, beside: tuple[tuple[str, str], ...]) -> JsonTable:
    value = rows_by_time(value) or value
    if isinstance(value, dict) and is_split(value):
        header = ["column" if each is None else str(each) for each in value["columns"]]
        rows = value["data"]
        index = value.get("index")
        if isinstance(index, list) and len(index) == len(rows):
            header, rows = ["index", *header], [[each, *row] for each, row in zip(index, rows, strict=True)]
        found = table_of_rows(rows, range(1, len(rows) + 1), name, "row", header)
    elif isinstance(value, dict):
        columns = {
            each: [cell_of(v, i, name) for i, v in enumerate(c, 1)] for each, c in _arrays(value).items()
        }
        beside = (*beside, *((k, v) for k, v in value.items() if isinstance(v, str)))
        frame = pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))
        found = JsonTable(frame, _count(frame.height), True, "row")
    elif isinstance(value[0], dict):
        names = list(dict.fromkeys(each for row in value for each in row))
        columns = {
            each: [cell_of(row.get(each), i, name) for i, row in enumerate(value, 1)] for each in names
        }
        frame = pl.DataFrame(columns, schema=dict.fromkeys(names, pl.String))
        found = JsonTable(frame, _count(frame.height), True, "row")
    else:
        found = table_of_rows(value, range(1, len(value) + 1), name, "row")
    return JsonTable(found.frame, found.lines, found.has_names, found.place, found.notes, beside)


def _count(rows: int) -> pl.Series:
    return pl.Series(range(1, rows + 1), dtype=pl.Int64)
