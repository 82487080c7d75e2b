"""A store of an older format becomes one of today's, by whichever engine."""

from __future__ import annotations

from contextlib import closing
from os import PathLike
from pathlib import Path

from qmtl.foundation.errors import StoreError
from qmtl.foundation.questdb_address import QuestDBAddress
from qmtl.foundation.server_addresses import ServerAddress
from qmtl.foundation.store_address import StoreAddress
from qmtl.runtime.io.sql.formats import Migration, nothing_to_migrate
from qmtl.runtime.io.sql.sqlite.directory import StoreDirectory
from qmtl.runtime.io.sql.sqlite.layout import FORMAT
from qmtl.runtime.sdk.stores import is_store, needs_psycopg, place_of

# How long others may take to leave the store, in seconds.
_PATIENCE_S = 5.0


def migrate_store(store: str | PathLike[str] | ServerAddress) -> Migration:
    """Let the store of a folder or an address have the format of today, in one transaction.

    Where it has that already, nothing is done. Ended early, it is what it was before. There is no way back
    but a backup. Raises `InvalidRequestError` where there is no store, `StoreLockedError` while anybody has
    it open, and `StoreError` for a newer format or without the right to change it.
    """
    place = place_of(store)
    if isinstance(place, QuestDBAddress):
        return migrate_store(place.place)._replace(place=place.shown)  # tables in QuestDB have no formats
    if not isinstance(place, Path):
        assert isinstance(place, StoreAddress)
        with needs_psycopg():
            from qmtl.runtime.io.sql.postgres.migration import migrate
        return migrate(place)
    if not is_store(place):
        raise nothing_to_migrate(place)
    return _migrated_folder(place)


def _migrated_folder(folder: Path) -> Migration:
    with closing(StoreDirectory(folder, read_only=False, lock_timeout_s=_PATIENCE_S, migrates=True)) as store:
        if store.read_only and store.format_before < FORMAT:
            raise StoreError(
                "the store cannot be migrated",
                path=folder,
                why="its folder or file cannot be written",
                next_step="give this user the right to write there, or free some space",
            )
        return Migration(store.location, store.format_before, store.format())
