"""Whether a database is the catalog of a store whose rows lie elsewhere, which is opened as nothing else."""

from __future__ import annotations

from qmtl.foundation.errors import StoreError
from qmtl.runtime.io.sql.database import Database
from qmtl.runtime.io.sql.dialect import Connection
from qmtl.runtime.io.sql.rows_place import begin_places, place_of_rows


def settle_rows(database: Database, connection: Connection, *, are_elsewhere: bool) -> None:
    """Refuse a database whose rows lie elsewhere than it was opened for; a new one notes where they do."""
    is_catalog = place_of_rows(connection) is not None
    if is_catalog and not are_elsewhere:
        raise StoreError(
            "this is the catalog of a store whose rows lie elsewhere",
            path=database.location,
            why="without them its bars would be taken for lost",
            next_step="open it as questdb://host:9000?catalog=...",
        )
    if is_catalog or not are_elsewhere:
        return
    with database.writing() as writer:
        if place_of_rows(writer) is not None:
            return  # another process was quicker
        if writer.execute("SELECT 1 FROM tx LIMIT 1").fetchone() is not None:
            raise StoreError(
                "this is a store of its own, and cannot be the catalog of another",
                path=database.location,
                why="it has commits whose rows lie in it",
                next_step="name a new folder or schema as the catalog",
            )
        begin_places(writer)
        writer.execute("COMMIT")
