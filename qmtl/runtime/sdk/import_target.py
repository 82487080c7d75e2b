"""Where an import goes: a provider, a store, a folder, or settings, with all that judges the rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias, runtime_checkable

from qmtl.foundation.clock import Clock, SystemClock
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.local_paths import folder_path
from qmtl.foundation.schema.governance.decisions import GovernanceRecords, ValidationMode
from qmtl.foundation.schema.registry.memory_storage import MemoryStorage
from qmtl.foundation.schema.registry.records import RegistryRecords
from qmtl.foundation.server_addresses import ServerAddress, server_named
from qmtl.runtime.conformance.pipeline import ConformancePipeline
from qmtl.runtime.ingest.settlement import SettlementPolicy
from qmtl.runtime.io.store.contract import Store
from qmtl.runtime.sdk.profile_table import profile_table
from qmtl.runtime.sdk.schema_enforcer import SchemaEnforcer
from qmtl.runtime.sdk.schema_wiring import schemas_from_settings
from qmtl.runtime.sdk.series_declarations import NothingStored, SeriesDeclarations, StoredFacts
from qmtl.runtime.sdk.stores import is_store, opened_store

if TYPE_CHECKING:
    from qmtl.foundation.settings import Settings


class ImportParts(NamedTuple):
    """How a provider judges rows that are imported."""

    declared: SeriesDeclarations
    pipeline: ConformancePipeline
    settlement: SettlementPolicy
    clock: Clock
    schemas: SchemaEnforcer


@runtime_checkable
class ImportsItself(Protocol):
    """A provider, as far as an import needs it; so that an import loads no provider."""

    @property
    def store(self) -> Store: ...
    @property
    def import_parts(self) -> ImportParts: ...


Into: TypeAlias = "ImportsItself | Store | str | Path | ServerAddress | Settings"


class Given(NamedTuple):
    """What a caller gives; None is what the target has, or the default."""

    declared: SeriesDeclarations | None
    pipeline: ConformancePipeline | None
    settlement: SettlementPolicy | None
    clock: Clock | None
    schemas: SchemaEnforcer | None


@dataclass(frozen=True)
class Target:
    """stored: knows what is declared. schemas: what checks rows while they are judged.

    opened: gives the store to commit to, made if it is not there, and where observations of its rows go.
    """

    stored: StoredFacts
    declared: SeriesDeclarations
    pipeline: ConformancePipeline
    settlement: SettlementPolicy
    clock: Clock
    schemas: SchemaEnforcer
    opened: Callable[[], tuple[Store, SchemaEnforcer]]


@contextmanager
def opened_target(into: Into, given: Given) -> Iterator[Target]:
    """A folder is opened for the while; one without a store becomes one only when `opened` is called."""
    if isinstance(into, ImportsItself):
        yield _of_provider(into, given)
        return
    with ExitStack() as stack:
        if isinstance(into, str):
            into = server_named(into) or into
        if isinstance(into, str | Path):
            into = folder_path(into, "a store").expanduser()
        if isinstance(into, Path | ServerAddress):
            yield _of_place(into, given, stack)
            return
        from qmtl.foundation.settings import Settings  # its models take a while to load

        if isinstance(into, Settings):
            yield _of_settings(into, given, stack)
        else:
            yield _of_store(into, given)


def _of_provider(provider: ImportsItself, given: Given) -> Target:
    parts = provider.import_parts
    schemas = given.schemas or parts.schemas
    return Target(
        provider.store,
        given.declared or parts.declared,
        given.pipeline or parts.pipeline,
        given.settlement or parts.settlement,
        given.clock or parts.clock,
        schemas,
        lambda: (provider.store, schemas),
    )


def _of_store(store: Store, given: Given) -> Target:
    clock = given.clock or SystemClock()
    schemas = given.schemas or _own_schemas(clock, store)
    return Target(
        store,
        given.declared or SeriesDeclarations(store),
        given.pipeline or ConformancePipeline(),
        given.settlement or SettlementPolicy(),
        clock,
        schemas,
        lambda: (store, schemas),
    )


def _of_settings(settings: Settings, given: Given, stack: ExitStack) -> Target:
    seamless = settings.seamless
    return _of_place(
        seamless.store.expanduser() if isinstance(seamless.store, Path) else seamless.store,
        given._replace(
            settlement=given.settlement
            or SettlementPolicy(settle=seamless.settle, absent_expiry=seamless.absent_expiry)
        ),
        stack,
        declared=[(one.match, one.facts) for one in seamless.series],
        retention=seamless.retention,
        schemas_for=partial(schemas_from_settings, settings),
    )


def _of_place(
    place: Path | ServerAddress,
    given: Given,
    stack: ExitStack,
    *,
    declared: list[tuple[str, SeriesFacts]] | None = None,
    retention: float | None = None,
    schemas_for: Callable[[GovernanceRecords | None], SchemaEnforcer] | None = None,
) -> Target:
    clock = given.clock or SystemClock()
    schemas_for = schemas_for or partial(_own_schemas, clock)

    def opened() -> Store:
        return stack.enter_context(closing(opened_store(place, clock=clock, retention=retention)))

    def schemas_of(store: Store | None) -> SchemaEnforcer:
        return given.schemas or stack.enter_context(closing(schemas_for(store)))

    def commit_to() -> tuple[Store, SchemaEnforcer]:
        store = there or opened()
        return store, schemas_of(store)

    there = opened() if is_store(place) else None
    stored: StoredFacts = there or NothingStored()
    return Target(
        stored,
        given.declared or SeriesDeclarations(stored, profile_table(declared=declared or [])),
        given.pipeline or ConformancePipeline(),
        given.settlement or SettlementPolicy(),
        clock,
        schemas_of(there),
        commit_to,
    )


def _own_schemas(clock: Clock, records: GovernanceRecords | None) -> SchemaEnforcer:
    """The schemas that come with this package. records: of a store; None if it is not there yet."""
    records = records or RegistryRecords(MemoryStorage())
    return SchemaEnforcer(None, records, mode=None, default=ValidationMode.CANARY, clock=clock)
