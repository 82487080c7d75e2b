"""What a store promises: rows and what is known about them, committed together and read as of any commit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple, Protocol

import polars as pl

from qmtl.foundation.facts import NOTHING_DECLARED, SeriesFacts
from qmtl.foundation.frames import empty_bars
from qmtl.foundation.schema.governance import GovernanceRecords
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.foundation.times import EARLIEST, LATEST
from qmtl.runtime.conformance.acceptance import Accepted

Said = Literal["answered", "absent", "refused"]

# What is declared bears on every bar.
ALL_TIME = Span(EARLIEST, LATEST)


class Answer(NamedTuple):
    """What one source said of one range. `expires_at` (ns) is set for absences, and what was refused twice.

    "refused": its rows were impossible, and impossible again when they were asked for once more. The bars are
    unknown; nobody need ask for them before it expires.
    """

    start: int
    end: int
    said: Said
    source: str
    checked_at: int
    expires_at: int | None


@dataclass(frozen=True)
class Write:
    """What one commit brings; rows and coverage become visible together, or not at all.

    frame: rows to upsert by `ts` (BAR_SCHEMA, sorted, unique, none of them impossible). A row that is stored
        already with the same values is left alone; with other values, the new ones win and the old stay
        readable by `as_of`.
    answered / absent: what the source said; the newer word replaces the older where they overlap.
    retracted: ranges whose earlier word no longer holds (quarantined bars): they become unknown.
    refused: those of them that were refused before; they are not asked for again until `refused_until` (ns).
    quarantine: impossible rows: BAR_SCHEMA columns plus `rule` (String); kept aside with source and time.
    declared: facts that the write rests on; what the store does not know of them is kept with it.
    """

    source: str
    checked_at: int
    frame: pl.DataFrame = field(default_factory=empty_bars)
    answered: Coverage = EMPTY
    absent: Coverage = EMPTY
    absent_until: int | None = None
    retracted: Coverage = EMPTY
    refused: Coverage = EMPTY
    refused_until: int | None = None
    quarantine: pl.DataFrame | None = None
    declared: SeriesFacts = NOTHING_DECLARED


@dataclass(frozen=True, slots=True)
class Commit:
    """A write that is durable. `tx` counts commits, `as_of` is its time in ns, strictly increasing.

    replaced: rows whose values changed: `ts`, `old_open` ... `old_volume`, `new_open` ... `new_volume`.
    """

    tx: int
    as_of: int
    added: int
    unchanged: int
    replaced: pl.DataFrame


@dataclass(frozen=True)
class Snapshot:
    """What the store held at one commit.

    rows: the rows within the span, and up to `context` rows on either side of it, sorted, unique.
    first, count: which of them lie within the span.
    answers: what was said that meets the span, ordered by start, disjoint; not clipped.
    facts: what is declared of the series, or None.
    answers_around: the same, from the first of `rows` to the last.
    answered_behind: what was answered behind the last row of all, if that row is among `rows` and the silence
        after it reaches into the span; else empty.
    damaged: where rows or answers were lost to damage, now or earlier, and nobody has answered since. Neither
        `rows` nor `answers` say anything of it.
    """

    span: Span
    tx: int
    as_of: int
    rows: pl.DataFrame
    first: int
    count: int
    answers: Sequence[Answer]
    facts: SeriesFacts | None
    answered_behind: Coverage = EMPTY
    answers_around: Sequence[Answer] = ()
    damaged: Coverage = EMPTY

    @property
    def frame(self) -> pl.DataFrame:
        """The rows within the span; a zero-copy slice."""
        return self.rows.slice(self.first, self.count)

    @cached_property
    def answered(self) -> Coverage:
        return _answered(self.answers)

    @cached_property
    def answered_around(self) -> Coverage:
        """What was answered from the first of `rows` to the last, or beyond."""
        return _answered(self.answers_around)

    def absent(self, now: int) -> Coverage:
        """Absences that have not expired at `now`."""
        return Coverage(
            (a.start, a.end)
            for a in self.answers
            if a.said == "absent" and (a.expires_at is None or now < a.expires_at)
        )


def _answered(answers: Iterable[Answer]) -> Coverage:
    return Coverage((a.start, a.end) for a in answers if a.said == "answered")


@dataclass(frozen=True, slots=True)
class Retraction:
    """What a retraction took away: `rows` of them, and answers; `as_of` is the time of its commit in ns.

    `changed` is False if the store knew nothing of the bars; then nothing was committed.
    """

    as_of: int
    rows: int
    changed: bool


class CommitInfo(NamedTuple):
    """One commit of a series. `as_of` (ns) reads what it left behind; `span` bounds what it touched.

    kind: "write", "declare" (facts of the series), "retract" or "repair" (rows lost to damage). writer: host
    and process. reason: of a retraction.
    """

    as_of: int
    kind: str
    span: Span
    writer: str
    reason: str | None


class Change(NamedTuple):
    """What one commit touched."""

    tx: int
    series: SeriesId
    span: Span


class Store(Protocol):
    """A durable home of series. Every method may be called from any thread and any process at once."""

    def read(
        self,
        series: SeriesId,
        span: Span,
        *,
        as_of: int | None = None,
        context: int = 0,
        check: Callable[[], None] | None = None,
    ) -> Snapshot:
        """What the store holds of `span`, at commit time `as_of` (ns) or now.

        Damage that is met is left out and named in the snapshot; a read without `as_of` also records it, if
        the store can be written, so that what was lost is asked for again.

        `check` is called between units of work; what it raises abandons the read. Raises `StoreError` where
        `as_of` lies before the retention horizon, and `InvalidRequestError` where it lies beyond both now and
        the newest commit.
        """
        ...

    def commit(self, series: SeriesId, write: Write) -> Commit:
        """Make a write durable. Writing the same again changes nothing but `checked_at`.

        Raises `InvalidRequestError`, and keeps nothing, if the store declares otherwise than the write.
        """
        ...

    def retract(self, series: SeriesId, span: Span, *, reason: str) -> Retraction:
        """Take away all rows that open within `span`, and all answers for it: its bars become unknown.

        Reads as of earlier commits stay as they are. `reason` is kept with the commit.
        """
        ...

    def commits(self, series: SeriesId) -> list[CommitInfo]:
        """What changed what can be read of the series, oldest first, since the retention horizon."""
        ...

    @property
    def shard_steps(self) -> int:
        """How many grid steps make one shard of a backfill; all who use a store cut alike."""
        ...

    def version(self) -> int:
        """A number that differs whenever anybody has committed since the last call; costs microseconds."""
        ...

    def changes(self, since: int) -> list[Change]:
        """What the commits after tx `since` touched, in order."""
        ...

    def last_tx(self) -> int:
        """The newest commit; 0 if there is none."""
        ...

    def facts(self, series: SeriesId, *, as_of: int | None = None) -> SeriesFacts | None:
        """What is declared of the series now, or was at commit time `as_of`, refused as by `read`."""
        ...

    def declare(self, series: SeriesId, facts: SeriesFacts) -> None:
        """Declare facts; versioned like data. Declaring the same again writes nothing."""
        ...

    def diff(self, series: SeriesId, as_of_a: int, as_of_b: int, *, partial_ok: bool = False) -> pl.DataFrame:
        """Columns `ts`, `change` (added, removed, changed), `old_open` ... `old_volume`, `new_open` ...

        Both times are commit times (ns), and are refused as by `read`. Raises `StoreCorruptError`, with the
        ranges, where damage hides what has changed; with `partial_ok` these are left out.
        """
        ...

    def quarantined(self, series: SeriesId, span: Span) -> pl.DataFrame:
        """Impossible rows kept aside: BAR_SCHEMA columns, `rule`, `source`, `checked_at` (ns UTC)."""
        ...

    def close(self) -> None: ...


class ReportArchive(Protocol):
    """Where reports are kept: append-only, one list per series."""

    def archive_report(self, series: SeriesId, report: Mapping[str, Any]) -> int | None:
        """Append a report (JSON values); its number, or None where the store cannot be written."""
        ...

    def newest_report(self, series: SeriesId) -> dict[str, Any] | None: ...

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

    def accepted(self, series: SeriesId) -> list[Accepted]: ...


class SeriesStore(Store, ReportArchive, GovernanceRecords, Protocol):
    """Series, the reports about them and the records of their schemas: what a provider needs."""
