"""Missing bars are claimed, asked for, checked and committed, chunk by chunk."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial

from qmtl.foundation.clock import Clock
from qmtl.foundation.errors import QmtlError, SourceUnavailableError, StaleFenceError
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.frames import stamps
from qmtl.foundation.grid import Grid
from qmtl.foundation.leases import ShardProgress
from qmtl.foundation.observability.log import backfill_log
from qmtl.foundation.observability.metrics import Metrics
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import EMPTY, Coverage
from qmtl.foundation.times import SECOND
from qmtl.runtime.conformance.screen import Screened
from qmtl.runtime.coordination.shard_leases import ShardLeases
from qmtl.runtime.coordination.shards import shard_span
from qmtl.runtime.ingest.asking import VendorQuestions
from qmtl.runtime.ingest.backfill_result import (
    NEVER_READ,
    BackfillResult,
    LostHolder,
    OnProgress,
    Progress,
    ReadAt,
)
from qmtl.runtime.ingest.chunk import ChunkTarget, Known
from qmtl.runtime.ingest.foreign import error_text, log_facts
from qmtl.runtime.ingest.held_shards import HeldShards, WaitedFor, lost_holder
from qmtl.runtime.ingest.questions import questions, runs
from qmtl.runtime.ingest.settlement import SettlementPolicy
from qmtl.runtime.ingest.threads import in_thread
from qmtl.runtime.io.coverage_scan import asked_after, refused, scan_coverage
from qmtl.runtime.io.store.contract import Store
from qmtl.runtime.io.store.values import Commit
from qmtl.runtime.io.vendors.base import Vendor

# A backfill that was overtaken gives way: it goes on where nobody has committed for so many seconds. Two that
# took each other's fences in turn would ask for ever. So the pause grows, and after the last it gives up.
GIVE_WAY_S = (5.0, 10.0, 20.0)
_LOOK_EVERY_S = 0.5


@dataclass(frozen=True)
class Backfill:
    """Fills what is missing of one series from one vendor, under the fences of all shards it writes to."""

    store: Store
    leases: ShardLeases
    clock: Clock
    metrics: Metrics
    settlement: SettlementPolicy

    async def run(
        self,
        series: SeriesId,
        grid: Grid,
        facts: SeriesFacts,
        missing: Coverage,
        vendor: Vendor,
        result: BackfillResult,
        on_progress: OnProgress | None = None,
        again: Coverage = EMPTY,
        unless_after: int | None = None,
        read_at: ReadAt = NEVER_READ,
    ) -> None:
        """Ask for `missing`, and once more for `again`: cells that have an answer, but one that is in doubt.

        A doubt is settled by an answer that anybody asked for after `unless_after` (ns); left out, within the
        time for which an absence holds. `read_at` is the read of the store that found what is missing: if
        nobody has committed since, the store is not read again before the vendor is asked.

        Claims the shards that nobody else is working on, asks once per run of missing bars, then waits for
        the others, takes what they committed, and claims what is still missing. Returns when there is
        nothing more to ask; what the vendor did not answer for stays unknown. Raises what the vendor raises.

        Others that do not see our claims, such as another machine, may open fences of the same shards later.
        Then they may write: we take what they commit, and ask for the rest once they stand still. Raises
        `StaleFenceError` where that happens again and again.
        """
        if unless_after is None:
            unless_after = self.clock.now() - int(self.settlement.absent_expiry * SECOND)
        wanted = missing | again
        job = _Job(self, series, grid, facts, vendor, result, on_progress, wanted, unless_after)
        result.under_way = job
        facts_of_log = log_facts(series, missing.hull)
        backfill_log.info("backfill.started", **facts_of_log, bars=job.total, source=result.source)
        try:
            await job.work(again, read_at)
        except asyncio.CancelledError:
            backfill_log.warning("backfill.cancelled", **facts_of_log, done=job.done)
            raise
        except QmtlError as error:
            backfill_log.error("backfill.failed", **facts_of_log, done=job.done, error=error.what)
            raise
        finally:
            result.under_way = None
        backfill_log.info("backfill.completed", **facts_of_log, done=job.done, added=result.added)


class _Job:
    """One run of a backfill."""

    def __init__(
        self,
        on: Backfill,
        series: SeriesId,
        grid: Grid,
        facts: SeriesFacts,
        vendor: Vendor,
        result: BackfillResult,
        on_progress: OnProgress | None,
        wanted: Coverage,
        unless_after: int,
    ) -> None:
        self._on = on
        self._series = series
        self._grid = grid
        self._result = result
        self._on_progress = on_progress
        self._wanted = wanted
        self._unless_after = unless_after
        self._width = on.store.shard_steps * grid.step
        self._left = wanted
        self._resting = EMPTY
        self._known = Known()
        self._waited_for = WaitedFor()
        self._shards = HeldShards(on.leases, series, self._width)
        self.total = grid.count(wanted)
        target = ChunkTarget(
            store=on.store,
            clock=on.clock,
            series=series,
            grid=grid,
            facts=facts,
            source=result.source,
            settlement=on.settlement,
            known=self._known,
            fenced=lambda write: self._shards.fenced(write),
            on_saved=self._saved,
        )
        self._questions = VendorQuestions(vendor, target, result, on.metrics, self._show_progress)

    @property
    def done(self) -> int:
        """Bars that were wanted, and are known now."""
        return self.total - self._grid.count(self._left)

    @property
    def is_saving(self) -> bool:
        """See `BackfillResult.is_saving`."""
        chunk = self._questions.chunk
        return chunk is not None and chunk.is_kept

    def stop(self) -> asyncio.Future[None]:
        """Keep what has come, and free the shards behind it. See `BackfillResult.stop`."""
        chunk = self._questions.chunk
        saving = None if chunk is None else chunk.keep()
        self._shards.hide(self._on.metrics)
        return self._shards.fail(why="the caller has left", after=saving)

    async def work(self, again: Coverage, read_at: ReadAt) -> None:
        wanted, read_as_of = self._wanted, read_at.as_of
        waits, pauses = False, iter(GIVE_WAY_S)
        while wanted:
            shards = self._shards = HeldShards(self._on.leases, self._series, self._width)
            try:
                # Closed stretches between missing bars are answered for as well, so their shards are claimed,
                # too.
                await shards.claim(
                    wanted, runs(wanted, self._grid), store_id=self._on.store.place_id, read_as_of=read_as_of
                )
                self._result.uncoordinated = shards.uncoordinated or self._result.uncoordinated
                await self._hear_of_lost(wanted, again)
                claimed, known_at = wanted & shards.time, read_as_of
                if claimed:
                    # Between the reading and the claim somebody else may have committed.
                    is_new = waits or again or (await in_thread(self._on.store.newest)).tx != read_at.tx
                    known = await self._known_of(claimed, again) if is_new else EMPTY
                    self._count(known)
                    if known:
                        known_at = (await in_thread(self._on.store.newest)).as_of
                    await shards.while_held(self._fill(claimed - known, again))
                await shards.complete(
                    as_of=max(self._result.as_of, known_at),
                    without_answer=(claimed & self._left) - self._resting - self._result.refused,
                )
            except BaseException as error:
                chunk = self._questions.chunk
                saving = None if chunk is None else chunk.saving
                is_away = isinstance(error, SourceUnavailableError) and error.is_away
                await asyncio.shield(shards.fail(why=error_text(error), after=saving, is_away=is_away))
                pause_s = next(pauses, None) if isinstance(error, StaleFenceError) else None
                if pause_s is None:
                    raise
                waits, wanted = True, await self._given_way(wanted, again, pause_s)
                continue
            finally:
                shards.hide(self._on.metrics)
            wanted = wanted - claimed
            if wanted and not claimed:
                waits = True
                read_as_of = max(read_as_of, *(done.as_of for done in shards.done), 0)
                known = await self._waited(wanted, again)
                wanted = wanted - known

    async def _waited(self, wanted: Coverage, again: Coverage) -> Coverage:
        """What is known once some time has passed, in which others work on all that is wanted."""
        waiting = self._shards.waiting
        if waiting:
            if self._result.waited_for == 0:
                first = waiting[0]
                backfill_log.info(
                    "backfill.waiting",
                    **log_facts(self._series, wanted.hull),
                    lease_key=str(first.key),
                    holder=first.holder,
                )
            self._result.waited_for += 1
            await asyncio.sleep(min(other.retry_after_s for other in waiting))
        known = await self._known_of(wanted, again)
        self._count(known)
        if known:
            self._tell()
        return known

    async def _hear_of_lost(self, wanted: Coverage, again: Coverage) -> None:
        """Say which of those that were waited for have ended, and left a shard to others."""
        for answer in self._waited_for.ended(self._shards):
            cells = wanted.clip(shard_span(answer.key.shard, self._width))
            self._count(await self._known_of(cells, again))
            lost = lost_holder(answer, self._grid.count(cells & self._left), self._on.clock.now())
            facts = log_facts(self._series, cells.hull)
            backfill_log.warning("backfill.holder_lost", **facts, **lost._asdict())
            self._tell(lost)

    async def _given_way(self, wanted: Coverage, again: Coverage, pause_s: float) -> Coverage:
        """What is still wanted once those who have taken our fences commit nothing for so many seconds."""
        now = self._on.clock.monotonic
        backfill_log.info("backfill.overtaken", **log_facts(self._series, wanted.hull))
        self._result.waited_for += 1
        until = now() + pause_s
        while wanted and now() < until:
            await asyncio.sleep(_LOOK_EVERY_S)
            known = await self._known_of(wanted, again)
            self._count(known)
            if known:
                wanted, until = wanted - known, now() + pause_s
        return wanted

    async def _fill(self, missing: Coverage, again: Coverage) -> None:
        """Ask for what is missing, but not for what was refused twice, the second time lately.

        What is to be asked `again` is asked for all the same.
        """
        on, shards = self._on, self._shards
        if not missing:
            return
        await shards.open_fences(on.store)
        look = partial(refused, on.store, self._series, missing, self._grid, now=on.clock.now())
        found = await in_thread(look)
        resting = self._resting = found.resting - again
        missing, self._known.refused = missing - resting, found.cells - resting
        asked = questions(missing, self._known.refused, self._grid) & shards.time
        self._known.bridged = asked - runs(missing, self._grid)
        shards.show(on.metrics, self._grid, self._wanted, self._left)
        for run in asked:
            await self._questions.ask(missing.clip(run))

    def _count(self, known: Coverage) -> None:
        """Cells that are known now, wanted or not; each is counted once."""
        self._left = self._left - known

    async def _show_progress(self) -> None:
        self._shards.show(self._on.metrics, self._grid, self._wanted, self._left)
        await self._shards.renew(ShardProgress(self.done, self.total))
        self._tell()

    def _tell(self, lost: LostHolder | None = None) -> None:
        if self._on_progress is not None:
            self._on_progress(Progress(self._series, self.done, self.total, lost))

    async def _known_of(self, cells: Coverage, again: Coverage) -> Coverage:
        """Those of `cells` that need no asking any more: a row, an answer or an absence is stored for them.

        What is to be asked again must have been asked for lately, by this backfill or another.
        """
        store, series, grid, now = self._on.store, self._series, self._grid, self._on.clock.now()
        states = await in_thread(partial(scan_coverage, store, series, cells.hull, grid, now=now))
        self._known.stored |= states.present
        known = (states.present | states.no_trade | states.absent) & cells
        again = again & known
        if not again:
            return known
        settled = await in_thread(partial(asked_after, store, series, again, self._unless_after))
        return known - (again - settled)

    def _saved(self, answered: Coverage, screened: Screened, commit: Commit) -> None:
        result, quarantined = self._result, screened.quarantine.height
        self._on.metrics.count_commit(
            self._series, result.source, added=commit.added, quarantined=quarantined
        )
        result.answered |= answered
        result.refused |= screened.retracted
        result.with_row |= self._grid.cells(stamps(screened.clean)) | screened.retracted
        result.added += commit.added
        result.quarantined += quarantined
        result.findings.extend(screened.findings)
        result.as_of = max(result.as_of, commit.as_of)
        result.at_risk = commit.at_risk or result.at_risk
        if commit.replaced.height:
            result.replaced.append(commit.replaced)
        self._count(answered)
        backfill_log.info(
            "backfill.committed",
            **log_facts(self._series, answered.hull),
            tx=commit.tx,
            added=commit.added,
            quarantined=quarantined,
            lease_keys=", ".join(self._shards.keys_of(answered)),
        )
