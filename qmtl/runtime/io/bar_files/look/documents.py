"""The tables inside a JSON text, or inside the first part of one, and the keys that lead to them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from qmtl.runtime.io.bar_files.json_keyed import rows_by_time
from qmtl.runtime.io.bar_files.json_tables import is_split
from qmtl.runtime.io.bar_files.json_text import parsed

_DEPTH = 4


@dataclass(frozen=True)
class Part:
    """A table in a document: `keys` lead to it from the top, `names` are its columns ("" without names), and
    `rows` hold their cells as text."""

    keys: tuple[str, ...]
    names: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def parts_of(text: str, *, whole: bool) -> tuple[Part, ...]:
    """All tables in a text of JSON, or of one JSON value a line. Raises `ValueError` if it is neither.

    whole: whether this is all of it; else what its cut has left open is closed behind the last whole value.
    """
    try:
        value = parsed(text if whole else closed(text))
    except ValueError:
        lines = [line for line in text.splitlines() if line.strip()]
        value = [parsed(line) for line in (lines if whole else lines[:-1])]
    return tuple(_parts(value, ()))


def closed(text: str) -> str:
    """The text up to its last whole value in a list or object, with what is open there closed.

    Text that ends within its first value is returned as it is.
    """
    opened: list[str] = []
    # Behind the last list or object that ends, or else behind the last of bare values.
    last: tuple[int, str] | None = None
    bare: tuple[int, str] | None = None
    within = escaped = False
    for place, character in enumerate(text):
        if within:
            within = escaped or character != '"'
            escaped = character == "\\" and not escaped
        elif character == '"':
            within = True
        elif character in "[{":
            opened.append("]" if character == "[" else "}")
        elif character in "]}" and opened:
            opened.pop()
            last = place + 1, "".join(reversed(opened))
        elif character == "," and opened and opened[-1] == "]" and last is None:
            bare = place, "".join(reversed(opened))
    cut = last or bare
    return text if cut is None else text[: cut[0]] + cut[1]


def _parts(value: Any, keys: tuple[str, ...]) -> Iterator[Part]:
    if len(keys) > _DEPTH:
        return
    table = _table(value)
    if table is not None:
        yield Part(keys, *table)
        return
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _parts(inner, (*keys, key))


def _table(value: Any) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]] | None:
    """Names and rows, if the value is a list of objects or of lists, or an object of lists or of times."""
    value = rows_by_time(value) or value
    if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
        names = tuple(dict.fromkeys(name for row in value for name in row))
        return names, tuple(tuple(_cell(row.get(name)) for name in names) for row in value)
    if isinstance(value, list) and value and all(isinstance(row, list) for row in value):
        width = max(len(row) for row in value)
        if width >= 5:
            return ("",) * width, tuple(_padded(row, width) for row in value)
    if isinstance(value, dict) and is_split(value):
        names = tuple("" if name is None else str(name) for name in value["columns"])
        rows = tuple(tuple(map(_cell, row)) for row in value["data"] if len(row) == len(names))
        index = value.get("index")
        if isinstance(index, list) and len(index) == len(rows):
            names = ("index", *names)
            rows = tuple((_cell(each), *row) for each, row in zip(index, rows, strict=True))
        return (names, rows) if rows else None
    if isinstance(value, dict):
        columns = {name: inner for name, inner in value.items() if _is_column(inner)}
        if len(columns) >= 5:
            count = min(len(inner) for inner in columns.values())
            cells = zip(*(inner[:count] for inner in columns.values()), strict=True)
            return tuple(columns), tuple(tuple(map(_cell, row)) for row in cells)
    return None


def _is_column(value: Any) -> bool:
    return (
        isinstance(value, list) and bool(value) and not any(isinstance(cell, list | dict) for cell in value)
    )


def object_in(cells: Sequence[str]) -> dict[str, Any] | None:
    """The first object among the cells of a column, None if they are single values."""
    for cell in cells:
        if cell.startswith("{"):
            try:
                value = parsed(cell)
            except ValueError:
                return None
            return value if isinstance(value, dict) else None
    return None


def _padded(row: Sequence[Any], width: int) -> tuple[str, ...]:
    return tuple(map(_cell, row)) + ("",) * (width - len(row))


def _cell(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)
