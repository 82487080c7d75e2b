"""What somebody has altered of the tables of a store: columns of another type, indexes that are gone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from qmtl.runtime.io.sql.dialect import Connection
from qmtl.runtime.io.sql.postgres.layout import TABLES, made_by, quoted


class _Column(NamedTuple):
    type: str
    is_required: bool


class _Index(NamedTuple):
    """name: "" where the server has named it."""

    table: str
    columns: tuple[str, ...]
    is_unique: bool
    is_primary: bool = False
    name: str = ""

    @property
    def statement(self) -> str:
        """What makes it again."""
        columns = f"({', '.join(map(quoted, self.columns))})"
        if self.name:
            return f"CREATE INDEX {self.name} ON {self.table} {columns}"
        return f"ALTER TABLE {self.table} ADD {'PRIMARY KEY' if self.is_primary else 'UNIQUE'} {columns}"


_TABLE = re.compile(r"CREATE TABLE (\w+) \((.*?)\)(?: WITH \([^)]*\))?;", re.DOTALL)
_NAMED = re.compile(r"CREATE INDEX (\w+) ON (\w+) \(([^)]*)\);")
_LIST = re.compile(r"\(([^)]*)\)")
# A comma that stands in no brackets.
_NEXT = re.compile(r",\s*(?![^()]*\))")


@cache
def _layout() -> tuple[dict[tuple[str, str], _Column], list[_Index]]:
    """The columns and indexes that the tables of this format have, read from what makes them."""
    columns: dict[tuple[str, str], _Column] = {}
    indexes: list[_Index] = []
    for table, body in _TABLE.findall(made_by()):
        for part in _NEXT.split(body):
            if part.startswith("PRIMARY KEY"):
                indexes.append(_Index(table, _names(part), is_unique=True, is_primary=True))
                continue
            name, type_, *more = part.split()
            rest = " ".join(more)
            is_key = "PRIMARY KEY" in rest
            if type_ == "double":
                type_ = "double precision"
            is_required = is_key or "NOT NULL" in rest or "GENERATED" in rest
            columns[table, name.strip('"')] = _Column(type_, is_required)
            if is_key or "UNIQUE" in rest:
                indexes.append(_Index(table, (name,), is_unique=True, is_primary=is_key))
    indexes += [
        _Index(table, _names(f"({listed})"), is_unique=False, name=name)
        for name, table, listed in _NAMED.findall(made_by())
    ]
    return columns, indexes


def _names(part: str) -> tuple[str, ...]:
    (listed,) = _LIST.findall(part)
    return tuple(name.strip(' "') for name in listed.split(","))


_COLUMNS = (
    "SELECT relname::text, attname::text, format_type(atttypid, NULL), attnotnull, relkind = 'r'"
    " FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid"
    " WHERE relnamespace = to_regnamespace(quote_ident(current_schema())) AND relkind IN ('r', 'p', 'v')"
    " AND attnum > 0 AND NOT attisdropped"
)
_INDEXES = (
    "SELECT relname::text, indisunique, ARRAY(SELECT attname::text FROM unnest(indkey) WITH ORDINALITY"
    " AS part (number, at) JOIN pg_attribute ON attrelid = indrelid AND attnum = number ORDER BY at)"
    " FROM pg_index JOIN pg_class ON pg_class.oid = indrelid"
    " WHERE relnamespace = to_regnamespace(quote_ident(current_schema())) AND indisvalid AND indpred IS NULL"
)


def altered_columns(connection: Connection) -> Iterator[str]:
    """In sentences; a store with any of them cannot be used. Columns that were added do no harm."""
    wanted, _ = _layout()
    found = {row[:2]: row[2:] for row in map(tuple, connection.execute(_COLUMNS).fetchall())}
    there = {table for table, _ in found}
    yield from (f"the table {table} is gone" for table in TABLES if table not in there)
    for (table, name), column in wanted.items():
        if table not in there:
            continue
        if (table, name) not in found:
            yield f"the column {table}.{name} is gone"
            continue
        type_, is_required, is_table = found[table, name]
        if type_ != column.type:
            yield f"the column {table}.{name} is of the type {type_}, and was {column.type}"
        elif column.is_required and is_table and not is_required:
            yield f"the column {table}.{name} may be null, and might not"


def lost_indexes(connection: Connection) -> Iterator[str]:
    """In sentences, with the statement that makes each again. Without them answers are slow."""
    _, wanted = _layout()
    rows = connection.execute(_INDEXES).fetchall()
    found = {(table, tuple(columns)): is_unique for table, is_unique, columns in rows}
    for index in wanted:
        is_unique = found.get((index.table, index.columns))
        if is_unique is None or (index.is_unique and not is_unique):
            yield f"an index of the table {index.table} is gone; its owner makes it again: {index.statement}"
