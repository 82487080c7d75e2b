"""A store in the memory of one process: the whole contract without a file, for tests and trials."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import polars as pl

from qmtl.foundation.clock import Clock, SystemClock
from qmtl.foundation.facts import NOTHING_DECLARED, SeriesFacts, agreed
from qmtl.foundation.frames import BAR_SCHEMA, TS
from qmtl.foundation.schema.registry.memory_storage import MemoryStorage
from qmtl.foundation.schema.registry.records import RegistryRecords
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.runtime.conformance.kept_flags import KeptFlags
from qmtl.runtime.io.store.contract import ReadAbandonedError
from qmtl.runtime.io.store.coverage_records import overlay as records_after
from qmtl.runtime.io.store.coverage_records import without as records_without
from qmtl.runtime.io.store.difference import Comparison, Difference, changes_between, replaced_frame
from qmtl.runtime.io.store.fencing import SHARD_STEPS, Fence, refuse_unfenced, renewed, stale_fence
from qmtl.runtime.io.store.memory_flags import MemoryFlags
from qmtl.runtime.io.store.memory_reports import MemoryReports
from qmtl.runtime.io.store.memory_series import NO_STAMPS, AtCommit, MemorySeries, State
from qmtl.runtime.io.store.point_in_time import following, last_at, refuse_out_of_reach
from qmtl.runtime.io.store.read_each import read_each
from qmtl.runtime.io.store.rows import NO_ROWS, Rows, find, from_frame, overlay
from qmtl.runtime.io.store.snapshots import snapshot_of
from qmtl.runtime.io.store.values import (
    ALL_TIME,
    Change,
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
    hull,
    refuse_foreign_deliveries,
    span_of_refused,
)

_KEPT_ASIDE = [("rule", pl.String()), ("source", pl.String()), ("checked_at", TS)]
_AT_RISK = "it is in the memory of this process, and ends with it"
_QUARANTINE = pl.Schema([*BAR_SCHEMA.items(), *_KEPT_ASIDE])


class MemoryStore(MemoryReports, RegistryRecords):
    """Implements `Store`. What it holds ends with the process; every change of the past stays readable.

    Takes the memory of all rows and of all that was changed, 48 bytes a row: nothing is packed or swept.
    """

    folder: Path | None = None
    shard_steps = SHARD_STEPS
    location = "memory"
    max_staleness = 0.0

    def __init__(self, *, clock: Clock | None = None) -> None:
        MemoryReports.__init__(self, clock or SystemClock())
        RegistryRecords.__init__(self, MemoryStorage())
        self.store_id = self.place_id = str(uuid4())
        self._series: dict[SeriesId, MemorySeries] = {}
        self._changes: list[Change] = []
        self._times: list[int] = []  # of commits 1, 2, ...
        self._fences: dict[SeriesId, dict[int, Fence]] = {}
        self._last_token = 0
        self._quarantine: dict[SeriesId, pl.DataFrame] = {}
        self._flags = MemoryFlags()

    # Reading

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
        _refuse_cancelled(series, cancelled)
        with self._open():
            state, point = self._state(series, as_of)
            flags = self._flags.of_span(series, flags_by, span) if flags_by and as_of is None else None
        _refuse_cancelled(series, cancelled)
        around = context if flags is None else 0
        return snapshot_of(AtCommit(series, state), point, span, state.rows, context=around, flags=flags)

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
        return read_each(
            self, series, span, as_of=as_of, context=context, cancelled=cancelled, flags_by=flags_by
        )

    def _state(self, series: SeriesId, as_of: int | None) -> tuple[State, Point]:
        with self._open():
            point = self._point(as_of, series)
            known = self._series.get(series)
            if known is None:
                return State(), point
            return (known.now if as_of is None else known.at(point.tx)), point

    def _point(self, as_of: int | None = None, series: SeriesId | None = None) -> Point:
        newest = Point(len(self._times), self._times[-1]) if self._times else Point(0, 0)
        if as_of is None:
            return newest
        refuse_out_of_reach(as_of, now=self._clock.now(), newest=newest, series=series)
        return last_at(1, newest.tx, as_of, lambda tx: self._times[tx - 1])

    # Writing

    def commit(self, series: SeriesId, write: Write) -> Commit:
        return self.commit_many({series: write})[series]

    def commit_many(self, writes: Mapping[SeriesId, Write]) -> dict[SeriesId, Commit]:
        rows = {series: self._checked(series, write) for series, write in writes.items()}
        with self._open():
            # All that may be refused is, before the first is entered.
            changes = {series: self._change(series, write, rows[series]) for series, write in writes.items()}
            now = self._clock.now()
            return {series: self._applied(series, writes[series], *changes[series], now) for series in writes}

    def _checked(self, series: SeriesId, write: Write) -> Rows:
        """The rows of a write that may be made. Raises `InvalidRequestError`."""
        rows = from_frame(write.frame, series)
        refuse_foreign_deliveries(write, rows.ts, series)
        refuse_unfenced(series, write, rows.ts, self.shard_steps)
        return rows

    def _change(self, series: SeriesId, write: Write, rows: Rows) -> tuple[State, State, Difference]:
        """The states before and after a write, and how its rows differ from those before."""
        if (stale := stale_fence(series, write.fences, self._fences.get(series, {}))) is not None:
            raise stale
        before = self._series[series].now if series in self._series else State()
        comparison = Comparison(rows)
        comparison.meet(before.rows)
        difference = comparison.difference()
        return before, _after(series, before, write, difference), difference

    def _applied(
        self, series: SeriesId, write: Write, before: State, after: State, difference: Difference, now: int
    ) -> Commit:
        is_new = difference.fresh.size > 0 or after[1:3] != before[1:3]  # records or facts
        kept_aside = self._keep_aside(series, write)
        if kept_aside or is_new:
            fresh = difference.fresh.ts
            spans = list(write.covered.spans)
            spans += [ALL_TIME] if after.facts != before.facts else []
            spans += [Span(int(fresh[0]), int(fresh[-1]) + series.timeframe.step)] if len(fresh) else []
            spans += span_of_refused(write, series.timeframe.step) if kept_aside else []
            added = fresh[find(difference.old.ts, fresh) < 0]
            self._enter(series, "write", hull(spans), after, now=now, added=added, gone=difference.old)
        point = self._point()
        replaced = replaced_frame(difference.old, difference.new)
        return Commit(point.tx, point.as_of, difference.added, difference.unchanged, replaced, _AT_RISK)

    def retract(self, series: SeriesId, span: Span, *, reason: str) -> Retraction:
        with self._open():
            before, point = self._state(series, None)
            gone = before.rows.between(span.start, span.end - 1)
            records = tuple(records_without(before.records, Coverage.of(span)))
            if not gone.size and records == before.records:
                return Retraction(point.as_of, 0, changed=False)
            after = before._replace(
                rows=before.rows.pick(find(gone.ts, before.rows.ts) < 0),
                records=records,
                delivered={ts: at for ts, at in before.delivered.items() if not span.start <= ts < span.end},
            )
            point = self._enter(series, "retract", span, after, added=NO_STAMPS, gone=gone, reason=reason)
            return Retraction(point.as_of, gone.size, changed=True)

    def _enter(
        self,
        series: SeriesId,
        kind: str,
        touched: Span,
        after: State,
        *,
        now: int | None = None,
        added: Any = NO_STAMPS,
        gone: Rows = NO_ROWS,
        reason: str | None = None,
    ) -> Point:
        point = following(self._point(), self._clock.now() if now is None else now)
        info = CommitInfo(point.as_of, kind, touched, f"process {os.getpid()}", reason)
        known = self._series.setdefault(series, MemorySeries(series))
        known.enter(point.tx, info, after, added=added, gone=gone)
        self._writes += 1
        self._times.append(point.as_of)
        self._changes.append(Change(point.tx, series, touched))
        self._flags.make_void(series, touched)
        return point

    def _keep_aside(self, series: SeriesId, write: Write) -> bool:
        """Keep impossible rows; whether any is new. The same row, rule and source is kept once."""
        if write.quarantine is None or not write.quarantine.height:
            return False
        before = self._quarantine.get(series, _QUARANTINE.to_frame())
        more = write.quarantine.select(
            *BAR_SCHEMA, "rule", source=pl.lit(write.source), checked_at=pl.lit(write.checked_at).cast(TS)
        )
        after = pl.concat([before, more]).unique(
            [*BAR_SCHEMA, "rule", "source"], keep="first", maintain_order=True
        )
        self._quarantine[series] = after
        return after.height > before.height

    # History and changes

    def newest(self) -> Point:
        with self._open():
            return self._point()

    def commits(self, series: SeriesId) -> list[CommitInfo]:
        with self._open():
            return [step.info for step in self._series[series].steps] if series in self._series else []

    def diff(self, series: SeriesId, as_of_a: int, as_of_b: int, *, partial_ok: bool = False) -> pl.DataFrame:
        before, after = (self._state(series, as_of)[0].rows for as_of in (as_of_a, as_of_b))
        return changes_between(before, after)

    def deliveries(self, series: SeriesId, span: Span, *, as_of: int | None = None) -> pl.DataFrame:
        delivered = self._state(series, as_of)[0].delivered
        lines = sorted((ts, at) for ts, at in delivered.items() if span.start <= ts < span.end)
        frame = pl.DataFrame(lines, {"ts": pl.Int64(), "delivered_at": pl.Int64()}, orient="row")
        return frame.with_columns(pl.all().cast(TS))

    def has_changed(self, token: ChangeToken) -> bool:
        self._refuse_closed()
        return self._writes != token.version

    def changed_since(self, token: ChangeToken | None) -> Changes:
        with self._open():
            listed = [] if token is None else self._changes[token.tx :]
            return Changes(ChangeToken(self._writes, len(self._changes)), listed)

    # Kept flags

    @property
    def reads_ahead(self) -> bool:
        return True

    def keep_flags(self, judged: Iterable[Judged]) -> None:
        with self._open():
            for one in judged:
                touched = (c.span for c in self._changes[one.seen.tx :] if c.series == one.series)
                if not any(map(one.kept.rests_on, touched)):
                    self._flags.keep(one)

    def kept_flags(self, series: SeriesId) -> list[tuple[bytes, KeptFlags]]:
        with self._open():
            return self._flags.listed(series)

    # Facts, quarantine, inventory

    def facts(self, series: SeriesId, *, as_of: int | None = None) -> SeriesFacts | None:
        return self._state(series, as_of)[0].facts

    def declare(self, series: SeriesId, facts: SeriesFacts) -> None:
        with self._open():
            before, _ = self._state(series, None)
            if before.facts != facts:
                self._enter(series, "declare", ALL_TIME, before._replace(facts=facts))

    def quarantined(self, series: SeriesId, span: Span) -> pl.DataFrame:
        with self._open():
            kept = self._quarantine.get(series, _QUARANTINE.to_frame())
        ts = kept["ts"].to_physical()
        return kept.filter((ts >= span.start) & (ts < span.end)).sort("ts", maintain_order=True)

    def list_series(self) -> list[SeriesInfo]:
        with self._open():
            return [self._info(self._series[series]) for series in sorted(self._series, key=str)]

    def _info(self, known: MemorySeries) -> SeriesInfo:
        rows, series = known.now.rows, known.series
        return SeriesInfo(
            series,
            rows=rows.size,
            span=Span(int(rows.ts[0]), int(rows.ts[-1])) if rows.size else None,
            chunks=0,
            hot_rows=0,
            bytes=sum(column.nbytes for column in rows),
            answers=len(known.now.records),
            quarantined=len(self._quarantine.get(series, ())),
            reports=len(self.reports(series)),
        )

    def info(self) -> StoreInfo:
        each, newest = self.list_series(), self.newest()
        return StoreInfo(
            path=self.location,
            format=0,
            read_only=False,
            series=len(each),
            rows=sum(one.rows for one in each),
            chunks=0,
            hot_rows=0,
            old_versions=0,
            quarantined=sum(one.quarantined for one in each),
            reports=sum(one.reports for one in each),
            lost=0,
            bytes=sum(one.bytes for one in each),
            last_tx=newest.tx,
            last_commit_at=newest.as_of,
            horizon=0,
        )

    # Fences

    def open_fence(self, series: SeriesId, shards: Iterable[int], claim_id: str) -> dict[int, int]:
        with self._open():
            known = self._fences.setdefault(series, {})
            tokens = renewed(known, sorted(set(shards)), claim_id, self._last_token + 1)
            self._last_token = max([self._last_token, *tokens.values()])
            known.update({shard: Fence(token, claim_id) for shard, token in tokens.items()})
            return tokens


def _after(series: SeriesId, before: State, write: Write, difference: Difference) -> State:
    """The state after a write."""
    facts = before.facts
    if write.declared != NOTHING_DECLARED:
        facts = agreed(series, [("the store", facts), (f"what {write.source} brings", write.declared)])
    fresh = difference.fresh
    delivered = before.delivered
    if fresh.size and (delivered or write.delivered_at):
        replaced = set(difference.old.ts.tolist())
        delivered = {ts: at for ts, at in delivered.items() if ts not in replaced}
        arrived = set(fresh.ts.tolist())
        delivered |= {ts: at for ts, at in write.delivered_at.items() if ts in arrived}
    return State(
        overlay(before.rows, fresh),
        tuple(records_after(before.records, write)),
        facts,
        delivered,
    )


def _refuse_cancelled(series: SeriesId, cancelled: Callable[[], bool] | None) -> None:
    if cancelled is not None and cancelled():
        raise ReadAbandonedError("a read was abandoned", series=series)
