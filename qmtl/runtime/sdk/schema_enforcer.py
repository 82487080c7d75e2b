"""Which registered schema the rows of a series must have, in which mode, and what came of it."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from qmtl.foundation.clock import Clock
from qmtl.foundation.errors import (
    InvalidRequestError,
    RegistryUnavailableError,
    SchemaRegistryError,
    StoreError,
)
from qmtl.foundation.schema.builtin import BUILTIN
from qmtl.foundation.schema.governance.decisions import (
    GovernanceRecords,
    Observation,
    ValidationMode,
    hour_of,
)
from qmtl.foundation.schema.governance.reader import MAX_AGE_S, GovernanceReader
from qmtl.foundation.series import SeriesId
from qmtl.runtime.conformance.registered_schema import NOT_CHECKED, RegisteredSchema, SchemaCheck, check
from qmtl.runtime.conformance.schema_columns import parse_registered_schema

if TYPE_CHECKING:
    from qmtl.foundation.schema.registry.contract import Registered, SchemaRegistry

# The schema that comes with this package is the first version of its bundle.
_OWN_VERSION = 1
_NO_SUBJECT, _NO_VERSION = 40401, 40402

# So long observations may wait before they are sent to a registry.
FLUSH_S = 60.0

_log = logging.getLogger("seamless.schema")


class SchemaBinding(NamedTuple):
    """The schema of a series. `why_not` says why it could not be checked, or may be out of date."""

    schema: RegisteredSchema | None
    subject: str
    mode: ValidationMode
    why_not: str | None = None

    @property
    def name(self) -> str:
        """Subject and version, such as `ohlcv:1`; `unknown` where there is no schema."""
        return "unknown" if self.schema is None else self.schema.name

    @property
    def is_strict(self) -> bool:
        return self.mode is ValidationMode.STRICT


NO_SCHEMA = SchemaBinding(None, "", ValidationMode.CANARY)


class _InForce(NamedTuple):
    """The schema in force and its subject, or why there is none; the mode, where it was read beside them."""

    schema: RegisteredSchema | None
    subject: str
    why_not: str | None
    mode: ValidationMode | None = None


class SchemaEnforcer:
    """Asks registry and governance at most every five seconds per series; safe to use from any thread.

    registry: left out, rows must have the schema that comes with this package. records: where decisions and
    observations are kept. mode: of whoever made the provider; it beats the records. default: where neither
    says anything.
    """

    def __init__(
        self,
        registry: SchemaRegistry | None,
        records: GovernanceRecords,
        *,
        mode: ValidationMode | None,
        default: ValidationMode,
        clock: Clock,
        subject_of: Callable[[SeriesId], str | None] = lambda _: None,
    ) -> None:
        self._registry = registry
        self._subject_of = subject_of
        self._records = records
        self._governance = GovernanceReader(records, clock=clock)
        self._mode = mode
        self._default = default
        self._clock = clock
        self._known: dict[str, tuple[SchemaBinding, float]] = {}  # by node id, and until when
        self._lock = threading.Lock()
        self._observed: dict[tuple[str, int, int], tuple[int, int]] = {}
        self._flushed_at = clock.monotonic()
        self.is_local = registry is None

    def is_fresh(self, series: SeriesId) -> bool:
        """Whether `of` answers without asking anybody."""
        known = self._known.get(series.text)
        return known is not None and self._clock.monotonic() < known[1]

    def of(self, series: SeriesId) -> SchemaBinding:
        """The schema of the series now. A registry that is down changes nothing that is known."""
        known = self._known.get(series.text)
        if known is not None and self._clock.monotonic() < known[1]:
            return known[0]
        binding = self._asked(series, None if known is None else known[0])
        # Series of one subject share what was read of it, and know it for as long.
        left_s = MAX_AGE_S - self._governance.age_s(binding.subject)
        self._known[series.text] = binding, self._clock.monotonic() + left_s
        return binding

    def _asked(self, series: SeriesId, before: SchemaBinding | None) -> SchemaBinding:
        try:
            schema, subject, why_not, mode = self._schema_of(series)
        except (RegistryUnavailableError, StoreError) as failure:
            why_not = f"the schema registry cannot be asked: {failure.what}"
            _log.warning("%s keeps the schema that was known of it: %s", series, why_not)
            if before is not None:
                return before._replace(why_not=why_not)
            return SchemaBinding(None, series.kind, self._mode or self._default, why_not)
        if before is not None and _same(before.schema, schema):
            schema = before.schema  # what was judged by it need not be judged again
        if self._registry is not None and self._mode is None:
            mode = self._governance.mode(subject)
        if schema is not None and schema.unchecked and why_not is None:
            why_not = f"{schema.name} says more than can be asked of a frame: {', '.join(schema.unchecked)}"
        return SchemaBinding(schema, subject, self._mode or mode or self._default, why_not)

    def _schema_of(self, series: SeriesId) -> _InForce:
        named = self._subject_of(series)
        if self._registry is None:
            return self._packaged(series, named or series.kind)
        subjects = (f"{series.kind}.{series.venue}.{series.timeframe}", series.kind)
        for subject in subjects if named is None else (named,):
            try:
                found = self._registry.version(subject, "latest")
            except SchemaRegistryError as failure:
                if failure.code == _NO_VERSION:  # all of them are tombstoned
                    return _InForce(None, subject, failure.what)
                if failure.code != _NO_SUBJECT:
                    raise
                continue
            why_not = (
                f"the registry is down, and {subject} may have changed since" if found.is_stale else None
            )
            return _InForce(_read(found), subject, why_not)
        if named is not None:
            return _InForce(None, named, f"nothing is registered under {named}, the subject of {series}")
        return _InForce(None, series.kind, f"nothing is registered for {series}, under {series.kind} either")

    def _packaged(self, series: SeriesId, subject: str) -> _InForce:
        """Without a registry: the schema that comes with this package, which is of the kind of the series."""
        if subject != series.kind:
            return _InForce(
                None, subject, f"no registry is configured, and {subject} does not come with this package"
            )
        governed = self._governance.governed(subject)
        reason = governed.tombstones.get(_OWN_VERSION)
        if reason is not None:
            why_not = f"version {_OWN_VERSION} of {subject} is tombstoned: {reason}"
            return _InForce(None, subject, why_not, governed.mode)
        return _InForce(own(subject), subject, None, governed.mode)

    # -- observations -----------------------------------------------------------------------------------

    def observe(self, binding: SchemaBinding, *, checked: int, failed: int, changed: bool) -> None:
        """Count rows that were checked against a schema.

        Where a registry keeps the counts they are sent later, together. A store of bars is written only for
        answers that `changed` it: a read writes nothing.
        """
        if binding.schema is None or not checked or (self._registry is None and not changed):
            return
        key = binding.subject, binding.schema.version, hour_of(self._clock.now())
        with self._lock:
            before = self._observed.get(key, (0, 0))
            self._observed[key] = before[0] + checked, before[1] + failed

    def flush(self) -> None:
        """Write what was observed. What cannot be written is kept for the next time."""
        self.flushing()
        with self._lock:
            observed, self._observed = self._observed, {}
        for (subject, version, hour), (checked, failed) in observed.items():
            try:
                self._records.observe(subject, Observation(version, hour, checked, failed))
            except (SchemaRegistryError, StoreError) as failure:
                _log.warning(
                    "%d rows checked against %s are not counted yet: %s", checked, subject, failure.what
                )
                with self._lock:
                    before = self._observed.get((subject, version, hour), (0, 0))
                    self._observed[subject, version, hour] = before[0] + checked, before[1] + failed

    def close(self) -> None:
        """Flush, and let go of connections to the registry; whoever shares it opens them anew."""
        self.flush()
        if self._registry is not None:
            self._registry.close()

    def flushing(self) -> None:
        """Somebody is about to flush: nobody else needs to for a while."""
        self._flushed_at = self._clock.monotonic()

    @property
    def wants_flush(self) -> bool:
        """Whether something has waited for long enough; a store beside us is written at once."""
        return bool(self._observed) and (
            self.is_local or self._clock.monotonic() - self._flushed_at >= FLUSH_S
        )


def validate(frame: pl.DataFrame, binding: SchemaBinding) -> SchemaCheck:
    """What the frame breaks of the schema that it must have."""
    return NOT_CHECKED if binding.schema is None else check(frame, binding.schema)


@cache
def own(kind: str) -> RegisteredSchema:
    """The schema of bars or trades that comes with this package."""
    value = json.loads((BUILTIN / f"{kind}.json").read_text(encoding="utf-8"))
    return parse_registered_schema(kind, _OWN_VERSION, value, language="JSON")


def _read(found: Registered) -> RegisteredSchema:
    value = json.loads(found.schema.text)
    return parse_registered_schema(
        found.subject, found.version, value, language=found.schema.type, id=found.id
    )


def _same(before: RegisteredSchema | None, now: RegisteredSchema | None) -> bool:
    return before is not None and now is not None and (before.name, before.id) == (now.name, now.id)


def records_of(registry: SchemaRegistry | None, store: GovernanceRecords) -> GovernanceRecords:
    """Where decisions and observations are: with the subjects of a registry, or without one in the store."""
    return store if registry is None else registry.records()


def mode_named(value: str | None) -> ValidationMode | None:
    """A mode as people write it. Raises `InvalidRequestError`."""
    if value is None:
        return None
    try:
        return ValidationMode(value)
    except ValueError:
        raise InvalidRequestError(
            f"validation_mode {value!r} is neither 'canary' nor 'strict'",
            next_step="use one of them, or None",
        ) from None
