"""A copy whose bars go into QuestDB: its catalog is made beside its place, and its tables are nobody else's.

Rows are written and read back before the catalog names them, as those of any commit. A copy that ends early
leaves its catalog and its tables, and the next attempt goes on with both.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.series import SeriesId
from qmtl.foundation.times import iso
from qmtl.runtime.io.questdb.rows import QuestDBRows
from qmtl.runtime.io.sql.catalogs import note_written_anew, number_of_copy
from qmtl.runtime.io.sql.copying import Target
from qmtl.runtime.io.sql.database import Database
from qmtl.runtime.io.sql.dialect import Connection
from qmtl.runtime.io.store.values import Point


class QuestDBTarget:
    """Implements `Target` on that of a catalog."""

    def __init__(self, location: str, catalog: Target) -> None:
        self.location, self.database = location, catalog.database
        self._catalog = catalog

    def complete(self, connection: Connection, newest: Point) -> None:
        """The tables are complete by now; with its catalog they become a store."""
        note_written_anew(connection)
        self._catalog.complete(connection, newest)


@contextmanager
def copy_target(
    rows: QuestDBRows, catalog: AbstractContextManager[Target], store_id: str | None
) -> Iterator[QuestDBTarget]:
    """The target of a copy into tables that are not there yet.

    catalog: the target of all but bars, opened for `rows`. store_id: of the store that is copied; None for a
    store that is made anew. Raises `InvalidRequestError` where the tables are those of others.
    """
    server = rows.table.server
    try:
        with catalog as made:
            with made.database.writing() as connection:
                number = number_of_copy(connection)
                connection.execute("COMMIT")
            if rows.table.claim_for_copy(store_id or made.database.store_id, number):
                _forget_chunks(made.database)
            yield QuestDBTarget(server.address.shown, made)
    finally:
        server.close()


def refuse_early_bars(source: Database) -> None:
    """Raise `InvalidRequestError` for a store that has bars which QuestDB cannot have."""
    with source.reading() as connection:
        found = connection.execute(
            "SELECT node, ts FROM series JOIN (SELECT series, min(first_ts) AS ts FROM chunk GROUP BY series"
            " UNION ALL SELECT series, min(ts) AS ts FROM hot GROUP BY series) AS first"
            " ON series.id = first.series WHERE ts < 0 ORDER BY ts LIMIT 1"
        ).fetchone()
    if found is not None:
        raise too_early(*found)


def too_early(series: SeriesId | str, ts: int) -> InvalidRequestError:
    """The refusal of a copy. ts: of its first bar."""
    return InvalidRequestError(
        f"the store cannot be copied into QuestDB: {series} has bars of {iso(ts)}",
        why="QuestDB has no times before 1970",
        next_step="copy it to a store of another kind, a folder or PostgreSQL",
    )


def _forget_chunks(database: Database) -> None:
    """For tables that are new: those of an earlier attempt are gone, with what it had written."""
    with database.writing() as connection:
        connection.execute("DELETE FROM chunk")
        connection.execute("DELETE FROM blob")
        connection.execute("COMMIT")
