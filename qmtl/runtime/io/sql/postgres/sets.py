"""One statement for many values: they come as a table, so that the server is asked once."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from qmtl.runtime.io.sql.dialect import Values
from qmtl.runtime.io.sql.postgres.arrays import bigints, byteas
from qmtl.runtime.io.sql.postgres.placeholders import translated

# What statements that change rows become.
_FORMS = (
    (re.compile(r"(INSERT INTO .+?) VALUES \(([^()]*)\)(.*)", re.DOTALL), r"\1 SELECT \2 FROM {given}\3"),
    (re.compile(r"(UPDATE \w+ SET (?:(?! WHERE ).)+)( WHERE .+)", re.DOTALL), r"\1 FROM {given}\2"),
    (re.compile(r"(DELETE FROM \w+)( WHERE .+)", re.DOTALL), r"\1 USING {given}\2"),
)
_KINDS: dict[type, str] = {
    int: "bigint",
    bool: "bigint",
    float: "double precision",
    str: "text",
    bytes: "bytea",
}


class Asked(NamedTuple):
    """A statement of PostgreSQL, and its values as `$1`, `$2` and so on."""

    text: str
    values: Sequence[Any]


def found_by_each(sql: str, values: Sequence[Values]) -> Asked:
    """What a query finds with each of the values; the first column counts them from 1.

    The query stays a query of its own, so that its rows come in its order.
    """
    return _asked(sql, values, is_query=True)


def changed_by_each(sql: str, values: Sequence[Values]) -> Asked:
    """What inserts, updates or deletes rows by each of the values. Raises `ValueError` for other verbs."""
    return _asked(sql, values, is_query=False)


def _asked(sql: str, values: Sequence[Values], *, is_query: bool) -> Asked:
    statement = translated(sql, "given.v")
    columns = list(zip(*(map(statement.ordered, values) if statement.names else values), strict=True))
    # What all values have in common is said once. But not in the conditions of a change: a planner that sees
    # it there takes it for rare, finds all such rows, and compares each of them with each of the values.
    is_change = not is_query and not statement.text.startswith("INSERT")
    kinds = tuple(_kind_of(column, says_once=not is_change) for column in columns)
    given = [
        _ARRAYS.get(kind, list)(column) if kind.endswith("[]") else column[0]
        for column, kind in zip(columns, kinds, strict=True)
        if kind != "NULL"
    ]
    return Asked(_for_each(statement.text, kinds, is_query=is_query), [*given, len(values)])


def _kind_of(column: Sequence[Any], *, says_once: bool) -> str:
    """The type of a column as SQL: an array, unless all values are the same and that is to be said once."""
    first = column[0]
    if first is None and column.count(None) == len(column):
        return "NULL"
    if says_once and column.count(first) == len(column):
        return _KINDS[type(first)]
    return _KINDS[type(next(value for value in column if value is not None))] + "[]"


@lru_cache(maxsize=512)
def _for_each(text: str, kinds: tuple[str, ...], *, is_query: bool) -> str:
    arrays, names, alike = [], [], {}
    parameter = 0
    for number, kind in enumerate(kinds, 1):
        if kind == "NULL":
            alike[f"given.v{number}"] = kind
            continue
        parameter += 1
        if kind.endswith("[]"):
            arrays.append(f"${parameter}::{kind}")
            names.append(f"v{number}")
        else:
            alike[f"given.v{number}"] = f"${parameter}::{kind}"
    text = re.sub(r"given\.v\d+", lambda found: alike.get(found[0], found[0]), text)
    # A table of a row for each of the values even where they are all alike.
    rows = f"generate_series(1, ${parameter + 1}::bigint)"
    given = f"ROWS FROM ({', '.join([rows, *(f'unnest({array})' for array in arrays)])}) AS given"
    given += f" ({', '.join(['at', *names])})"
    if is_query:
        return f"SELECT given.at, found.* FROM {given} CROSS JOIN LATERAL ({text}) AS found"
    for form, turned in _FORMS:
        if found := form.fullmatch(text):
            return found.expand(turned.replace("{given}", given))
    raise ValueError(f"this cannot be done for many values at once: {text}")


_ARRAYS: dict[str, Callable[[Sequence[Any]], Any]] = {"bigint[]": bigints, "bytea[]": byteas}
