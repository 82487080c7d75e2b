"""Which store an address names: the only place that knows an engine, and the only one that opens a store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from qmtl.foundation.clock import Clock, SystemClock
from qmtl.foundation.errors import InvalidRequestError, MissingDependencyError
from qmtl.foundation.local_paths import folder_path, names_questdb, names_server
from qmtl.foundation.times import SECOND
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.io.sql.sqlite.layout import DATABASE
from qmtl.runtime.io.store.contract import Store

if TYPE_CHECKING:
    from qmtl.foundation.questdb_address import QuestDBAddress
    from qmtl.foundation.server_addresses import ServerAddress
    from qmtl.foundation.store_address import StoreAddress
    from qmtl.runtime.io.questdb.rows import QuestDBRows
    from qmtl.runtime.io.questdb.store import QuestDBStore
    from qmtl.runtime.io.sql.postgres.store import PostgresStore

# How long a write waits for other writers of the catalog.
_CATALOG_LOCK_S = 30.0
# What tells a store from other objects.
_VERBS = ("read", "commit", "changed_since", "list_series")


def opened_store(
    store: str | PathLike[str] | ServerAddress | Store,
    *,
    clock: Clock,
    retention: float | None,
    max_staleness: float = 0.0,
) -> Store:
    """The store of a folder or an address, made if it is not there; one that is open already is given back.

    retention: seconds of history that compaction keeps; None keeps all. max_staleness: in seconds, see
    `ChangeLog`; a folder tells of each commit at once all the same. Raises `InvalidRequestError` for an
    address of a scheme that is not served, and for what is neither a path nor a store.
    """
    if isinstance(store, str) and (names_server(store) or names_questdb(store)):
        from qmtl.foundation.server_addresses import server_named

        store = server_named(store) or store
    if isinstance(store, type):
        raise InvalidRequestError(
            f"store= is the class {store.__name__}, not a store", next_step=f"make one: {store.__name__}(...)"
        )
    if not isinstance(store, str | PathLike):
        from qmtl.foundation.store_address import StoreAddress

        if isinstance(store, StoreAddress):
            return postgres_store(store, clock=clock, retention=retention, max_staleness=max_staleness)
        from qmtl.foundation.questdb_address import QuestDBAddress

        if isinstance(store, QuestDBAddress):
            return questdb_store(store, clock=clock, retention=retention, max_staleness=max_staleness)
        if lacking := [verb for verb in _VERBS if not callable(getattr(store, verb, None))]:
            raise InvalidRequestError(
                f"store= is {type(store).__name__}, not a folder or a store",
                why=f"it has no {', '.join(lacking)}",
                next_step="give the path of a folder, or an object with the verbs of Store",
            )
        return store
    return embedded_store(store, clock=clock, retention=retention)


def embedded_store(
    folder: str | PathLike[str],
    *,
    clock: Clock | None = None,
    retention: float | None = None,
    read_only: bool = False,
    lost_commits_ok: bool = False,
) -> EmbeddedStore:
    """The store of a folder with all the care that its files need. retention: in seconds, as above."""
    return EmbeddedStore(
        folder,
        clock=clock,
        retention=_ns(retention),
        read_only=read_only,
        lost_commits_ok=lost_commits_ok,
    )


def postgres_store(
    address: StoreAddress,
    *,
    clock: Clock | None = None,
    retention: float | None = None,
    read_only: bool = False,
    max_staleness: float = 0.0,
) -> PostgresStore:
    """The store of an address. Its commits have the time of the server, unless the clock is one of a test."""
    with needs_psycopg():
        from qmtl.runtime.io.sql.postgres.store import PostgresStore
    own = None if clock is None or isinstance(clock, SystemClock) else clock
    return PostgresStore(
        address, clock=own, retention=_ns(retention), read_only=read_only, max_staleness=max_staleness
    )


def questdb_store(
    address: str | QuestDBAddress,
    *,
    clock: Clock | None = None,
    retention: float | None = None,
    read_only: bool = False,
    max_staleness: float = 0.0,
) -> QuestDBStore:
    """The store of an address such as questdb://host:9000?catalog=FOLDER. retention: in seconds, as above.

    max_staleness: as above; a catalog in a folder tells of each commit at once all the same.
    """
    from qmtl.foundation.questdb_address import QuestDBAddress

    where = QuestDBAddress.parse(address) if isinstance(address, str) else address
    rows = questdb_rows(where)
    place = where.place
    if not isinstance(place, Path):
        with needs_psycopg():
            from qmtl.runtime.io.questdb.on_postgres import QuestDBOnPostgres
        return QuestDBOnPostgres(
            place,
            rows,
            clock=None if isinstance(clock, SystemClock) else clock,
            retention=_ns(retention),
            read_only=read_only,
            max_staleness=max_staleness,
        )
    from qmtl.runtime.io.questdb.store import QuestDBStore
    from qmtl.runtime.io.sql.sqlite.directory import StoreDirectory

    catalog = StoreDirectory(place, read_only=read_only, lock_timeout_s=_CATALOG_LOCK_S, elsewhere=rows)
    try:
        return QuestDBStore(catalog, rows, clock=clock or SystemClock(), retention=_ns(retention))
    except BaseException:
        catalog.close()
        raise


def questdb_rows(address: QuestDBAddress) -> QuestDBRows:
    """The tables of an address, which are asked nothing so far."""
    if find_spec("questdb") is None:
        raise MissingDependencyError("questdb", extra="questdb")
    from qmtl.runtime.io.questdb.rows import QuestDBRows
    from qmtl.runtime.io.questdb.server import QuestDBServer
    from qmtl.runtime.io.questdb.table import BarTable

    return QuestDBRows(BarTable(QuestDBServer(address, address.pg), address.name))


def place_of(store: str | PathLike[str] | ServerAddress) -> Path | ServerAddress:
    """The folder or the address that a store is named by."""
    from qmtl.foundation.server_addresses import ServerAddress, server_named

    if isinstance(store, ServerAddress):
        return store
    if isinstance(store, str) and (address := server_named(store)) is not None:
        return address
    return folder_path(store, "a store").expanduser()


def is_store(place: Path | ServerAddress) -> bool:
    """Whether a store was ever made in a folder, or at an address."""
    if isinstance(place, Path):
        return (place / DATABASE).exists()
    from qmtl.foundation.questdb_address import QuestDBAddress

    if isinstance(place, QuestDBAddress):
        return is_store(place.place)
    with needs_psycopg():
        from qmtl.runtime.io.sql.postgres import store as postgres
    return postgres.is_store(place)


@contextmanager
def needs_psycopg() -> Iterator[None]:
    """For an import: psycopg is there for those whose store is on PostgreSQL."""
    try:
        yield
    except ImportError as missing:
        # Without its binary part, and without a libpq of the system, psycopg is there and cannot be imported.
        if missing.name != "psycopg" and "libpq" not in str(missing):
            raise
        raise MissingDependencyError("psycopg", extra="postgres") from missing


def _ns(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds * SECOND)
