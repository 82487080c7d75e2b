"""What goes into a store and comes out of it: writes, commits, snapshots, and what is known of ranges."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple

import polars as pl

from qmtl.foundation.errors import InvalidRequestError, StoreError
from qmtl.foundation.facts import NOTHING_DECLARED, SeriesFacts
from qmtl.foundation.frames import empty_bars
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import EMPTY, Coverage, Int64Array, Span
from qmtl.foundation.times import EARLIEST, LATEST, iso
from qmtl.runtime.conformance.flags import Flags
from qmtl.runtime.conformance.kept_flags import KeptFlags

Outcome = Literal["answered", "absent", "refused"]

# What is declared bears on every bar.
ALL_TIME = Span(EARLIEST, LATEST)


class CoverageRecord(NamedTuple):
    """What came of asking one source for one range, `[start, end)` in ns.

    outcome: "answered" (a bar without a row did not trade), "absent" (the source has none) or "refused" (its
        rows were impossible, and so were those of a second question: the bars are unknown, and need not be
        asked for again before `expires_at`).
    checked_at: when it was asked, in ns. expires_at: in ns, of "absent" and "refused" records.
    """

    start: int
    end: int
    outcome: Outcome
    source: str
    checked_at: int
    expires_at: int | None


@dataclass(frozen=True)
class Write:
    """What one commit brings; rows and coverage become visible together, or not at all.

    frame: rows to upsert by `ts` (BAR_SCHEMA, sorted, unique, none of them impossible). A row that is stored
        already with the same values is left alone; with other values, the new ones win and the old stay
        readable by `as_of`.
    answered / absent: what the source answered for; it replaces what was recorded of these ranges before.
    retracted: ranges whose earlier records no longer hold (quarantined bars): they become unknown.
    refused: those of them that were refused before; they are not asked for again until `refused_until` (ns).
    quarantine: impossible rows: BAR_SCHEMA columns plus `rule` (String); kept aside with source and time.
    declared: facts that the write rests on; what the store does not know of them is kept with it.
    fences: the token of each shard that the write touches, as `open_fence` gave it; empty for writes that no
        claim guards (imports, live bars). A token that is no longer the newest one of its shard
        refuses the whole write with `StaleFenceError`.
    delivered_at: when bars that came live reached us, in ns, by the `ts` of their row in `frame`. It is no
        part of the row: fingerprints and comparisons do not see it.
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
    fences: Mapping[int, int] = field(default_factory=dict)
    delivered_at: Mapping[int, int] = field(default_factory=dict)

    @cached_property
    def covered(self) -> Coverage:
        """The ranges whose coverage records it replaces."""
        if self.absent is EMPTY and self.retracted is EMPTY:  # as of a live bar
            return self.answered
        return self.answered | self.absent | self.retracted


class Point(NamedTuple):
    """One commit: its number (0 where there is none) and its time in ns."""

    tx: int
    as_of: int


@dataclass(frozen=True, slots=True)
class Commit:
    """A write that was acknowledged. `tx` counts commits, `as_of` is its time in ns, strictly increasing.

    replaced: rows whose values changed: `ts`, `old_open` ... `old_volume`, `new_open` ... `new_volume`.
    at_risk: why a loss of power may take a part of it; None where the disk was waited for.
    """

    tx: int
    as_of: int
    added: int
    unchanged: int
    replaced: pl.DataFrame
    at_risk: str | None = None


@dataclass(frozen=True)
class Snapshot:
    """A range of a series at one commit.

    rows: the rows within the span, and up to `context` rows on either side of it, sorted, unique.
    first, count: which of them lie within the span.
    answers: the coverage records that meet the span, ordered by start, disjoint; not clipped.
    answers_around: the same, from the first of `rows` to the last.
    answered_behind: what was answered behind the last row of all, if that row is among `rows` and the silence
        after it reaches into the span; else empty.
    damaged: where rows or records were lost to damage, now or earlier, and nobody has answered since. Neither
        `rows` nor `answers` hold anything of it.
    reach: from the first to the last of the rows with as much context as was asked for, and without an end
        where there are no such rows. None without context, and where damage hides a part of it.
    flags: those of the span, where the store has kept them by the rules asked for; then no context has come.
    """

    span: Span
    tx: int
    as_of: int
    rows: pl.DataFrame
    first: int
    count: int
    answers: Sequence[CoverageRecord]
    answered_behind: Coverage = EMPTY
    answers_around: Sequence[CoverageRecord] = ()
    damaged: Coverage = EMPTY
    reach: Span | None = None
    flags: Flags | None = None

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
            if a.outcome == "absent" and (a.expires_at is None or now < a.expires_at)
        )


def _answered(answers: Iterable[CoverageRecord]) -> Coverage:
    return Coverage.of(*(Span(a.start, a.end) for a in answers if a.outcome == "answered"))


class Judged(NamedTuple):
    """Flags that a store may keep. rules: see `rules_key`. seen: the commit at which the rows were read."""

    series: SeriesId
    rules: bytes
    seen: Point
    kept: KeptFlags


class Retraction(NamedTuple):
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


class ChangeToken(NamedTuple):
    """How far a reader has followed the changes of one open store; meaningless to any other one.

    as_of: the time of commit `tx`, by which it is told from another one of this number; None if nobody asks.
    """

    version: int
    tx: int
    as_of: int | None = None


class Changes(NamedTuple):
    """What was committed since a token, in order, and the token that follows it.

    horizon: reads as of an earlier time (ns) may be refused since then; 0 if there is nothing to tell.
    is_restored: whether the commit of the token is gone, as in a store that was brought back from a backup:
        then nothing holds that was read before, whatever is listed.
    """

    token: ChangeToken
    commits: list[Change]
    horizon: int = 0
    is_restored: bool = False


class SeriesInfo(NamedTuple):
    """One series as it is now. `span` is from its first row to its last (their stamps), None without rows.

    rows: bars. hot_rows: those kept apart from chunks. bytes: of its current chunks, packed. A store without
    chunks says 0 of them.
    """

    series: SeriesId
    rows: int
    span: Span | None
    chunks: int
    hot_rows: int
    bytes: int
    answers: int
    quarantined: int
    reports: int


class StoreInfo(NamedTuple):
    """A store as a whole. Counts of rows, chunks and hot rows are of now, `old_versions` of the past.

    path: where it is. format: of its files, 0 if there are none. bytes: of all its files. last_tx,
    last_commit_at (ns): the newest commit, 0 if none. horizon (ns): the earliest `as_of`, 0 if history is
    whole. lost: ranges that damage has taken, neither healed nor acknowledged.
    """

    path: str
    format: int
    read_only: bool
    series: int
    rows: int
    chunks: int
    hot_rows: int
    old_versions: int
    quarantined: int
    reports: int
    lost: int
    bytes: int
    last_tx: int
    last_commit_at: int
    horizon: int


def hull(spans: Iterable[Span]) -> Span:
    """The smallest span around all; empty if there are none."""
    spans = list(spans)
    return Span(min(s.start for s in spans), max(s.end for s in spans)) if spans else Span(0, 0)


def span_of_refused(write: Write, step: int) -> list[Span]:
    """From the first to the last stamp of the rows that a write keeps aside; none if no row has a stamp."""
    stamps = [] if write.quarantine is None else write.quarantine["ts"].drop_nulls().to_physical().to_list()
    return [Span(min(stamps), max(stamps) + step)] if stamps else []


def refuse_unarchived(series: SeriesId, number: int | None) -> None:
    """Raise `StoreError` if a report has no number: it was not archived, and has to be there."""
    if number is None:
        raise StoreError(
            "a report is not archived",
            series=series,
            why="the store cannot be written any more, or has no room left",
            next_step="make room, or use a server that can be written; then `qmtl revalidate` the range, "
            "which archives what it finds",
        )


def refuse_foreign_deliveries(write: Write, ts: Int64Array, series: SeriesId) -> None:
    """Raise `InvalidRequestError` if a write tells when bars were delivered that it does not bring."""
    if write.delivered_at and (strange := write.delivered_at.keys() - set(ts.tolist())):
        raise InvalidRequestError(
            "`delivered_at` names bars that the write does not bring",
            series=series,
            why=f"it has no row of {', '.join(iso(one) for one in sorted(strange)[:3])}",
            next_step="give a time of delivery for rows of `frame` only",
        )
