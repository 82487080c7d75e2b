"""Where an import goes: a provider, a store, or the folder of one, with all that judges the rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeAlias

from qmtl.foundation.clock import Clock, SystemClock
from qmtl.foundation.local_paths import local_path
from qmtl.foundation.schema.governance import GovernanceRecords, ValidationMode
from qmtl.foundation.schema.governance_rows import RegistryRecords
from qmtl.foundation.schema.memory import MemoryStorage
from qmtl.runtime.conformance.pipeline import ConformancePipeline
from qmtl.runtime.coordination.backfill import Rules
from qmtl.runtime.io.store.base import SeriesStore
from qmtl.runtime.io.store.embedded import EmbeddedStore
from qmtl.runtime.io.store.schema import DATABASE
from qmtl.runtime.sdk.declared import Declared, NothingStored, StoredFacts
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.sdk.schemas import Schemas

Into: TypeAlias = SeamlessDataProvider | SeriesStore | str | Path


class Given(NamedTuple):
    """What a caller hands over; None is what the target has, or the default."""

    declared: Declared | None
    pipeline: ConformancePipeline | None
    rules: Rules | None
    clock: Clock | None
    schemas: Schemas | None


@dataclass(frozen=True)
class Target:
    """stored: tells what is declared. schemas: what rows are held to while they are judged.

    opened: the store to commit to, made if it is not there, and where its observations go.
    """

    stored: StoredFacts
    declared: Declared
    pipeline: ConformancePipeline
    rules: Rules
    clock: Clock
    schemas: Schemas
    opened: Callable[[], tuple[SeriesStore, Schemas]]


@contextmanager
def opened_target(into: Into, given: Given) -> Iterator[Target]:
    """A folder is opened for the while; one without a store becomes one only when `opened` is called."""
    if isinstance(into, SeamlessDataProvider):
        parts = into.import_parts
        clock, schemas = given.clock or parts.clock, given.schemas or parts.schemas
        yield Target(
            into.store,
            given.declared or parts.declared,
            given.pipeline or parts.pipeline,
            given.rules or parts.rules,
            clock,
            schemas,
            lambda: (into.store, schemas),
        )
        return
    clock = given.clock or SystemClock()
    with ExitStack() as stack:

        def opened(folder: Path) -> EmbeddedStore:
            return stack.enter_context(closing(EmbeddedStore(folder, clock=clock)))

        def commit_to(store: SeriesStore) -> tuple[SeriesStore, Schemas]:
            return store, given.schemas or _schemas(store, clock)

        there: SeriesStore | None
        if isinstance(into, str | Path):
            folder = local_path(into, "a store").expanduser()
            there = opened(folder) if (folder / DATABASE).exists() else None
        else:
            folder, there = Path(), into
        stored: StoredFacts = there or NothingStored()
        yield Target(
            stored,
            given.declared or Declared(stored, {}),
            given.pipeline or ConformancePipeline(),
            given.rules or Rules(),
            clock,
            given.schemas or _schemas(there or RegistryRecords(MemoryStorage()), clock),
            lambda: commit_to(there or opened(folder)),
        )


def _schemas(records: GovernanceRecords, clock: Clock) -> Schemas:
    return Schemas(None, records, mode=None, default=ValidationMode.CANARY, clock=clock)
