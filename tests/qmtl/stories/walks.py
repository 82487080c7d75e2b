"""What a call meets on its way: the modules whose functions run, and the reads of what is stored.

A read is one call that looks up stored rows, coverage records, facts, reports, decisions or quarantined rows,
or, in a registry, its rows. To ask for the number of the newest commit (`newest`, `has_changed`,
`changed_since`) is no read, and neither is a write. `test_walks.py` keeps both within bounds, and prints them
with `pytest -s`.
"""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType
from typing import Any, NamedTuple, Protocol

from qmtl.foundation.collector import collector_paused
from qmtl.foundation.schema.registry.storage import RegistryStorage, RegistryView

# Vendors, clocks and bars of tests are no part of a walk.
_OURS, _OF_TESTS = "qmtl.", "qmtl.runtime.testing"

# The verbs of a store that look up what is stored.
READS = (
    "accepted",
    "baseline_report",
    "commits",
    "decisions",
    "deliveries",
    "diff",
    "facts",
    "info",
    "list_series",
    "newest_report",
    "observed",
    "quarantined",
    "read",
    "read_many",
    "reports",
)

# The methods of a registry's view that change rows; all others look rows up.
_WRITES_OF_A_VIEW = ("add", "put", "remove")


class Walk(NamedTuple):
    """modules: of this package, whose functions ran. reads: verbs that looked up what is stored, in order."""

    modules: frozenset[str]
    reads: tuple[str, ...]


class Counting(Protocol):
    """What notes the reads that it is asked for."""

    reads: list[str]


class CountingStore:
    """A store that notes which of its verbs for reading are used."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.reads: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return _counted(self._store, name, self.reads) if name in READS else getattr(self._store, name)


class CountingStorage:
    """The storage of a registry that notes its transactions, and what is looked up within them."""

    def __init__(self, storage: RegistryStorage) -> None:
        self._storage = storage
        self.reads: list[str] = []
        self.transactions: list[str] = []

    def reading(self) -> AbstractContextManager[RegistryView]:
        return self._noted("reading", self._storage.reading())

    def writing(self) -> AbstractContextManager[RegistryView]:
        return self._noted("writing", self._storage.writing())

    @contextmanager
    def _noted(self, kind: str, opened: AbstractContextManager[RegistryView]) -> Iterator[Any]:
        self.transactions.append(kind)
        with opened as view:
            yield _CountingView(view, self.reads)

    def close(self) -> None:
        self._storage.close()


class _CountingView:
    def __init__(self, view: RegistryView, reads: list[str]) -> None:
        self._view = view
        self._reads = reads

    def __getattr__(self, name: str) -> Any:
        if name.startswith(_WRITES_OF_A_VIEW):
            return getattr(self._view, name)
        return _counted(self._view, name, self._reads)


def _counted(on: object, name: str, reads: list[str]) -> Callable[..., Any]:
    found: Callable[..., Any] = getattr(on, name)

    def counted(*args: Any, **options: Any) -> Any:
        reads.append(name)
        return found(*args, **options)

    return counted


def walk(call: Callable[[], object], stored: Counting) -> Walk:
    """Make a call, and note what it meets, on this thread and on those that it starts."""
    modules: set[str] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            modules.add(frame.f_globals.get("__name__", ""))

    stored.reads.clear()
    gc.collect()  # what other tests have left behind is closed now, and not on this way
    with collector_paused():
        threading.setprofile(note)
        sys.setprofile(note)
        try:
            call()
        finally:
            sys.setprofile(None)
            threading.setprofile(None)  # type: ignore[arg-type]
    ours = {name for name in modules if name.startswith(_OURS) and not name.startswith(_OF_TESTS)}
    return Walk(frozenset(ours), tuple(stored.reads))
