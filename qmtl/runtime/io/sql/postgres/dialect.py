"""What PostgreSQL says in its own words."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from psycopg import errors

from qmtl.foundation.series import SeriesId
from qmtl.runtime.io.sql.dialect import Connection, Dialect
from qmtl.runtime.io.sql.postgres.alterations import altered_columns, lost_indexes
from qmtl.runtime.io.sql.postgres.layout import TABLES


def _listed(text: str, columns: Sequence[str]) -> str:
    cells = []
    for at, column in enumerate(columns):
        name = column.removeprefix("text:")
        cells.append(f"value ->> {at} AS {name}" if name != column else f"(value ->> {at})::bigint AS {name}")
    return f"SELECT {', '.join(cells)} FROM jsonb_array_elements({text}::jsonb) AS listed (value)"


def is_damage(failure: Exception) -> bool:
    """A page whose checksum is wrong, and an index that contradicts itself."""
    return isinstance(failure, errors.DataCorrupted | errors.IndexCorrupted)


def _may_hide(connection: Connection, names: Collection[SeriesId]) -> bool:
    return False  # a damaged page is an error


def _inspected(connection: Connection) -> Iterator[str]:
    yield from altered_columns(connection)
    yield from lost_indexes(connection)


def _rebuild(connection: Connection) -> None:
    for table in TABLES:
        connection.execute(f"REINDEX TABLE {table}")


def _unchanged(value: Any) -> Any:
    return value


POSTGRES = Dialect(
    proof=lambda columns: None,
    as_bytes=_unchanged,
    same="IS NOT DISTINCT FROM",
    listed=_listed,
    number_in=lambda column, name: f"({column}::jsonb ->> '{name}')::bigint",
    row_id="rowid",
    by_scan="",
    is_server=True,
    from_float=_unchanged,
    to_float=_unchanged,
    name="PostgreSQL",
    inspected=_inspected,
    is_damage=is_damage,
    may_hide=_may_hide,
    rebuild=_rebuild,
)
