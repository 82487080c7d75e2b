"""What a store promises, one protocol per group of verbs: ask for the narrowest that will do.

Every method may be called from any thread and any process at once. Times are UTC nanoseconds, spans are
half-open. `qmtl.runtime.testing` has a suite of tests for each protocol, which an implementation inherits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import polars as pl

from qmtl.foundation.errors import StoreError
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.schema.governance.decisions import GovernanceRecords
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.runtime.conformance.acceptance import Accepted
from qmtl.runtime.conformance.kept_flags import KeptFlags
from qmtl.runtime.io.store.values import (
    Changes,
    ChangeToken,
    Commit,
    CommitInfo,
    Judged,
    Point,
    Retraction,
    SeriesInfo,
    Snapshot,
    StoreInfo,
    Write,
)


class ReadAbandonedError(StoreError):
    """A read whose `cancelled()` became true ended without an answer. Nothing is wrong with the store."""


class BarReader(Protocol):
    """Bars and coverage of ranges, as of any commit."""

    def read(
        self,
        series: SeriesId,
        span: Span,
        *,
        as_of: int | None = None,
        context: int = 0,
        cancelled: Callable[[], bool] | None = None,
        flags_by: bytes | None = None,
    ) -> Snapshot:
        """The rows and coverage records of `span`, at commit time `as_of` (ns) or now.

        context: how many rows on either side of the span come with it.
        flags_by: see `rules_key`. Where the store has kept the flags of the whole span by these rules, they
        come in place of context; of now only.
        cancelled: asked between units of work; once it is true, the read ends with `ReadAbandonedError`.

        Damage that is met is left out and named in the snapshot; a read without `as_of` also records it, if
        the store can be written, so that what was lost is asked for again.

        Raises `StoreError` where `as_of` lies before the retention horizon, and `InvalidRequestError` where
        it lies beyond both now and the newest commit.
        """
        ...

    def read_many(
        self,
        series: Iterable[SeriesId],
        span: Span,
        *,
        as_of: int | None = None,
        context: int = 0,
        cancelled: Callable[[], bool] | None = None,
        flags_by: Mapping[SeriesId, bytes] | None = None,
    ) -> dict[SeriesId, Snapshot]:
        """`read` of several series, all of them at one commit. flags_by: of each that has any."""
        ...


class BarWriter(Protocol):
    """Writes that become durable and visible as a whole, or not at all."""

    def commit(self, series: SeriesId, write: Write) -> Commit:
        """Make a write durable. The same write once more changes nothing but `checked_at`.

        Raises `InvalidRequestError` if the store declares otherwise than the write, or if it touches a shard
        that `write.fences` lacks; `StaleFenceError` if a token of them is not the newest one of its shard.
        Nothing is kept then.
        """
        ...

    def commit_many(self, writes: Mapping[SeriesId, Write]) -> dict[SeriesId, Commit]:
        """Make the writes of several series durable and visible together, all of them or none.

        Each is a commit of its own, in the order given. Raises as `commit` does for the first refused.
        """
        ...

    def retract(self, series: SeriesId, span: Span, *, reason: str) -> Retraction:
        """Take away all rows that open within `span`, and all its coverage records: its bars become unknown.

        Reads as of earlier commits stay as they are. `reason` is kept with the commit.
        """
        ...


class History(Protocol):
    """The commits of series, and what changed between two of them."""

    def newest(self) -> Point:
        """The newest commit of the store; (0, 0) if there is none."""
        ...

    def commits(self, series: SeriesId) -> list[CommitInfo]:
        """The commits that changed what can be read of the series, oldest first, since the horizon."""
        ...

    def diff(self, series: SeriesId, as_of_a: int, as_of_b: int, *, partial_ok: bool = False) -> pl.DataFrame:
        """Columns `ts`, `change` (added, removed, changed), `old_open` ... `old_volume`, `new_open` ...

        Both times are commit times (ns), and are refused as by `read`. Raises `StoreCorruptError`, with the
        ranges, where damage hides what has changed; with `partial_ok` these are left out.
        """
        ...

    def deliveries(self, series: SeriesId, span: Span, *, as_of: int | None = None) -> pl.DataFrame:
        """When the rows of `span` that came live had reached us: columns `ts`, `delivered_at` (ns UTC).

        One line per row that is stored as it was delivered, at `as_of` or now, sorted; rows that came by a
        backfill or an import, or that were corrected since, have none. `as_of` is refused as by `read`.
        """
        ...


class ChangeLog(Protocol):
    """How whoever keeps a copy in memory learns what others have committed."""

    @property
    def max_staleness(self) -> float:
        """How many seconds what other processes commit may escape `has_changed`; 0 in most stores.

        Whatever could be seen that long ago does not, and what this process commits never does.
        """
        ...

    def has_changed(self, token: ChangeToken) -> bool:
        """Whether there may be something since `token`: True in doubt, and, but for `max_staleness`, never
        False after a commit, an archived report or an acceptance.

        Costs microseconds, and waits for neither disk nor network. A store that would have to ask a server
        answers True; then whoever asks calls `changed_since`, which may wait.
        """
        ...

    def changed_since(self, token: ChangeToken | None) -> Changes:
        """The commits of any thread or process since `token`, and the token to ask with next.

        None lists nothing: it gives the token to begin with. Where nothing has changed, the token stays the
        same. A commit that is not listed is listed by the next call.
        """
        ...


@runtime_checkable
class ReadsIfCurrent(Protocol):
    """What the store of a server offers beside `Store`: to look and to read is one trip."""

    def read_if_current(
        self,
        token: ChangeToken,
        series: SeriesId,
        span: Span,
        *,
        context: int = 0,
        cancelled: Callable[[], bool] | None = None,
        flags_by: bytes | None = None,
    ) -> Snapshot | None:
        """As `BarReader.read`, of now; None where there is anything since `token`, see `ChangeLog`."""
        ...


class Declarations(Protocol):
    """Facts of series, versioned like bars."""

    def facts(self, series: SeriesId, *, as_of: int | None = None) -> SeriesFacts | None:
        """What is declared of the series now, or was at commit time `as_of`, refused as by `read`."""
        ...

    def declare(self, series: SeriesId, facts: SeriesFacts) -> None:
        """Declare facts. Declaring the same again writes nothing."""
        ...


class FlagArchive(Protocol):
    """Flags that were found once, kept until a commit touches what they rest on."""

    @property
    def reads_ahead(self) -> bool:
        """Whether all of a stretch is read in about the time of a small range of it."""
        ...

    def keep_flags(self, judged: Iterable[Judged]) -> None:
        """Keep flags for later reads, by stretch; with those that were kept of the same one, if they meet.

        Those are left out that a commit has made void since they were found, and all of them where the store
        cannot be written, or somebody else is writing: they can be found again. Nothing waits for the disk.
        """
        ...

    def kept_flags(self, series: SeriesId) -> list[tuple[bytes, KeptFlags]]:
        """All that is kept of a series, by rules and time."""
        ...


class Quarantine(Protocol):
    """Impossible rows, kept aside."""

    def quarantined(self, series: SeriesId, span: Span) -> pl.DataFrame:
        """Those of `span`: BAR_SCHEMA columns, `rule`, `source`, `checked_at` (ns UTC)."""
        ...


class ReportArchive(Protocol):
    """Reports and acceptances: append-only, one list per series."""

    def archive_report(self, series: SeriesId, report: Mapping[str, Any]) -> int | None:
        """Append a report (JSON values); its number, or None where it cannot be written, or finds no room."""
        ...

    def newest_report(self, series: SeriesId) -> dict[str, Any] | None:
        """The report archived last."""
        ...

    def baseline_report(self, series: SeriesId) -> dict[str, Any] | None:
        """The newest report without errors, and without warnings that are not accepted.

        What later reports are compared with: a bad run must not become the measure of the next.
        """
        ...

    def reports(self, series: SeriesId | None = None) -> list[dict[str, Any]]:
        """All reports, newest first, each with `number`, `series`, `archived_at` (ns) and `report`."""
        ...

    def accept(self, series: SeriesId, accepted: Iterable[Accepted]) -> int:
        """Record acceptances; how many were new."""
        ...

    def accepted(self, series: SeriesId) -> list[Accepted]:
        """All acceptances of the series, by rule and time."""
        ...


class Inventory(Protocol):
    """What lies in a store, and where it is."""

    @property
    def location(self) -> str:
        """Where the store is, in words for people: a folder, an address."""
        ...

    def list_series(self) -> list[SeriesInfo]:
        """Every series of the store, by name."""
        ...

    def info(self) -> StoreInfo:
        """The store as a whole."""
        ...


class Fencing(Protocol):
    """What those who share backfill work need of the catalog: who the store is, its shards, their tokens."""

    @property
    def store_id(self) -> str:
        """The same for all who have this store open, whatever they call its place; a copy keeps it."""
        ...

    @property
    def place_id(self) -> str:
        """As `store_id`, but a copy in another place has another one; so has what is restored on a server.

        Leases and jobs go by it: what is done in a copy is not done here.
        """
        ...

    @property
    def shard_steps(self) -> int:
        """How many grid steps make one shard of a backfill; kept by the catalog, so that all cut alike."""
        ...

    @property
    def folder(self) -> Path | None:
        """The directory that processes of this machine which have the store open share, for locks.

        None if there is none. Other machines do not see it, where a store is on a server.
        """
        ...

    def open_fence(self, series: SeriesId, shards: Iterable[int], claim_id: str) -> dict[int, int]:
        """A token for each shard, larger than all that were issued before, durable when this returns.

        From then on a write with an older token of one of these shards is refused. A claim that asks again,
        and has not been overtaken, gets the tokens that it has: after a time-out one may just repeat.
        """
        ...


class Store(
    BarReader,
    BarWriter,
    History,
    ChangeLog,
    Declarations,
    FlagArchive,
    Quarantine,
    ReportArchive,
    Inventory,
    Fencing,
    GovernanceRecords,
    Protocol,
):
    """All of them: what a provider needs."""

    def close(self) -> None:
        """Free files and connections; the store cannot be used afterwards. A second call does nothing."""
        ...
