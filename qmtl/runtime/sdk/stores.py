"""Which store an address names: the only place that knows an engine, and the only one that opens a store."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from qmtl.foundation.clock import Clock
from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.times import SECOND
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.io.sql.sqlite.layout import DATABASE
from qmtl.runtime.io.store.contract import Store

# What tells a store from other objects.
_VERBS = ("read", "commit", "changed_since", "list_series")


def opened_store(store: str | PathLike[str] | Store, *, clock: Clock, retention: float | None) -> Store:
    """The store of a folder, made if it is not there; one that is open already is given back.

    retention: seconds of history that compaction keeps; None keeps all. Raises `InvalidRequestError` for an
    address of a scheme that is not served, and for what is neither a path nor a store.
    """
    if isinstance(store, type):
        raise InvalidRequestError(
            f"store= is the class {store.__name__}, not a store", next_step=f"make one: {store.__name__}(...)"
        )
    if not isinstance(store, str | PathLike):
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
        retention=None if retention is None else int(retention * SECOND),
        read_only=read_only,
        lost_commits_ok=lost_commits_ok,
    )


def is_store(folder: Path) -> bool:
    """Whether a store was ever made in a folder."""
    return (folder / DATABASE).exists()
