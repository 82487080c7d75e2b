"""A worker: takes shards of jobs from a coordinator, and fills each as a fetch would."""

from __future__ import annotations

import asyncio
import uuid
from concurrent.futures import ThreadPoolExecutor

from qmtl.foundation.errors import (
    CoordinatorUnavailableError,
    LeaseError,
    QmtlError,
    SourceUnavailableError,
)
from qmtl.foundation.leases import LeaseKey
from qmtl.foundation.observability.log import backfill_log
from qmtl.foundation.observability.metrics import Metrics
from qmtl.foundation.states import BarStates
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import iso
from qmtl.foundation.words import counted
from qmtl.runtime.coordination.coordinator_answers import LostError
from qmtl.runtime.coordination.coordinator_client import CoordinatorClient, TakenShard
from qmtl.runtime.coordination.distributed import DistributedBackfillCoordinator
from qmtl.runtime.coordination.job_blocks import PATIENCE, Outcome
from qmtl.runtime.coordination.series_rests import SeriesRests
from qmtl.runtime.coordination.shard_leases import Granted, ShardRequest
from qmtl.runtime.sdk.provider import SeamlessDataProvider

# What is under way when a worker is asked to leave may go on for so long. Then it is cancelled, and released.
DRAIN_S = 20.0
# A coordinator that does not answer is asked again after so long, and told of an ending for so long.
_ASK_AGAIN_S = 2.0
_INSIST_S = 60.0


class Worker:
    """provider: with `leases` as its coordinator. venues: a pattern. slots: how many shards at a time."""

    def __init__(
        self,
        provider: SeamlessDataProvider,
        leases: DistributedBackfillCoordinator,
        client: CoordinatorClient,
        metrics: Metrics,
        *,
        venues: str = "*",
        slots: int = 1,
        drain_s: float = DRAIN_S,
    ) -> None:
        self._provider = provider
        self._leases = leases
        self._client = client
        self._metrics = metrics
        self._venues = venues
        self._slots = slots
        self._drain_s = drain_s
        self._ttl_s = leases.ttl_s
        self._threads = ThreadPoolExecutor(slots, thread_name_prefix="qmtl-worker")
        self._take_id, self._turn = uuid.uuid4().hex, 0
        self._rests = SeriesRests()
        self._leaves = False
        self._is_away = self._was_refused = False
        self.name = leases.worker

    async def run(self, stopping: asyncio.Event) -> None:
        """Until `stopping` is set: what is under way then is finished, or released after some time.

        Raises `LeaseError` for what the coordinator refuses twice, and if twice something else answers.
        """
        at_work: set[asyncio.Task[None]] = set()
        stopped = asyncio.create_task(stopping.wait())
        living = asyncio.create_task(self._live(at_work))
        try:
            while not stopping.is_set():
                taken, wait_s = await self._next() if len(at_work) < self._slots else (None, None)
                if taken is not None:
                    at_work.add(asyncio.create_task(self._fill(taken)))
                    continue
                await asyncio.wait({stopped}, timeout=wait_s) if wait_s is not None else await asyncio.wait(
                    {stopped, *at_work}, return_when=asyncio.FIRST_COMPLETED
                )
                for done in [task for task in at_work if task.done()]:
                    at_work.discard(done)
                    done.result()
            await self._drain(at_work)
        finally:
            stopped.cancel()
            living.cancel()
            await asyncio.wait({stopped, living})
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def _drain(self, at_work: set[asyncio.Task[None]]) -> None:
        backfill_log.info("worker.draining", worker=self.name, shards=len(at_work))
        if not at_work:
            return
        _, pending = await asyncio.wait(at_work, timeout=self._drain_s)
        if pending:
            self._leaves = True
            await asyncio.to_thread(self._provider.close)  # cancels what is under way
            await asyncio.wait(pending, timeout=self._drain_s)
        for ended in [task for task in at_work if task.done()]:
            ended.result()

    async def _next(self) -> tuple[TakenShard | None, float]:
        """The next shard; or None, and seconds to wait."""
        now = asyncio.get_running_loop().time()
        if pause_s := self._rests.pause_s(now):
            return None, pause_s
        try:
            found = await self._client.take(
                self.name,
                self._take_id,
                turn=self._turn,
                store_id=self._provider.store.place_id,
                venues=self._venues,
                ttl_s=self._ttl_s,
                resting=self._rests.at(now),
            )
        except CoordinatorUnavailableError as error:
            if not self._is_away:
                backfill_log.warning("worker.waiting", worker=self.name, error=error.what, why=error.why)
            self._is_away = True
            return None, _ASK_AGAIN_S
        except LeaseError as error:
            self._bear(error, was_refused=self._was_refused)
            self._was_refused = True
            return None, _ASK_AGAIN_S
        self._is_away = self._was_refused = False
        if found[0] is not None:
            self._take_id, self._turn = uuid.uuid4().hex, self._turn + 1
        return found

    def _bear(self, error: LeaseError, *, was_refused: bool) -> None:
        """One refusal, or answer that was none of a coordinator, may be of a moment. Raises the second."""
        if was_refused:
            raise error
        backfill_log.warning("worker.refused", worker=self.name, error=error.what, why=error.why)

    async def _fill(self, taken: TakenShard) -> None:
        facts = {"worker": self.name, "job": taken.job, "lease_key": taken.lease_key}
        backfill_log.info("worker.took", **facts, attempts=taken.attempts)
        outcome, why, is_away = Outcome.DONE, "", False
        try:
            states = await self._filled(taken)
            why = lacking(states, self._provider.now())
            if taken.attempts and not why:
                await self._settle(taken, states)
        except QmtlError as error:
            why = str(error)
            is_away = isinstance(error, SourceUnavailableError) and error.is_away
        except Exception as error:  # noqa: BLE001 - of a vendor of somebody's own; the job shows it, and goes on
            why = f"{type(error).__name__}: {error}"
            backfill_log.error("worker.broke", **facts, exc_info=error)
        if why:
            outcome = Outcome.RELEASED if self._leaves else Outcome.AWAY if is_away else Outcome.FAILED
        failed = outcome in PATIENCE
        if failed:
            self._rests.failed(taken.series, now=asyncio.get_running_loop().time())
        elif outcome is Outcome.DONE:
            self._rests.done(taken.series)
        self._metrics.count_worked_shard(outcome.value)
        log = backfill_log.warning if failed else backfill_log.info
        log(f"worker.{outcome.value}", **facts, **({"why": why} if why else {}))
        await self._end(taken, outcome, why)

    async def _filled(self, taken: TakenShard) -> BarStates:
        return await asyncio.get_running_loop().run_in_executor(
            self._threads,
            lambda: self._provider.backfill(taken.series, taken.start, taken.end, progress=False),
        )

    async def _settle(self, taken: TakenShard, states: BarStates) -> None:
        """Complete the lease of an attempt before, which may have ended between its last commit and that.

        Then nothing was missing any more, so that nobody has claimed the shard since.
        """
        cells = states.present | states.no_trade | states.absent
        as_of = (await asyncio.to_thread(self._provider.store.newest)).as_of
        request = ShardRequest(LeaseKey.parse(taken.lease_key), cells, 0)
        try:
            answers = await self._leases.claim([request], claim_id=uuid.uuid4().hex)
            grants = [answer for answer in answers if isinstance(answer, Granted)]
            await self._leases.complete(grants, as_of=as_of)
        except CoordinatorUnavailableError as error:
            # The bars are there. The lease is shown as free for a day, and is forgotten then.
            backfill_log.warning("worker.unheard", worker=self.name, job=taken.job, why=error.what)

    async def _end(self, taken: TakenShard, outcome: Outcome, why: str) -> None:
        """Say how it ended, until it is heard."""
        loop = asyncio.get_running_loop()
        until, was_refused = loop.time() + _INSIST_S, False
        while True:
            try:
                await self._client.end(taken, outcome, why)
            except LostError as lost:
                # Its session had ended, or the job has. What was committed is there all the same.
                backfill_log.warning("worker.unheard", worker=self.name, job=taken.job, why=lost.why)
            except CoordinatorUnavailableError as error:
                if loop.time() < until:
                    await asyncio.sleep(_ASK_AGAIN_S)
                    continue
                backfill_log.warning("worker.unheard", worker=self.name, job=taken.job, why=error.what)
            except LeaseError as error:
                self._bear(error, was_refused=was_refused)
                was_refused = True
                await asyncio.sleep(_ASK_AGAIN_S)
                continue
            return

    async def _live(self, at_work: set[asyncio.Task[None]]) -> None:
        """While anything is at work, be heard of three times in a lifetime. That it was lost is said once."""
        is_lost = False
        while True:
            await asyncio.sleep(self._ttl_s / 3)
            shards = sum(not task.done() for task in at_work)
            if not shards:
                is_lost = False
                continue
            try:
                await self._client.live(self.name)
                is_lost = False
            except LostError as lost:
                if not is_lost:
                    backfill_log.warning("worker.lost", worker=self.name, shards=shards, why=lost.why)
                is_lost = True
            except (CoordinatorUnavailableError, LeaseError) as error:
                backfill_log.warning("worker.not_renewed", worker=self.name, error=error.what)


def lacking(states: BarStates, now: int) -> str:
    """Why a shard is not done: closed bars that nobody has answered for, or that are damaged. Else empty."""
    closed = Span(states.span.start, max(states.span.start, min(states.span.end, states.grid.floor(now))))
    lacks = {"unknown": states.unknown.clip(closed), "damaged": states.damaged.clip(closed)}
    counts = {name: states.grid.count(cells) for name, cells in lacks.items() if cells}
    found = ", ".join(f"{counted(count, 'bar')} {name}" for name, count in counts.items())
    if not found:
        return ""
    first = next(cells for cells in lacks.values() if cells).spans[0]
    return f"{found} after the vendor was asked, from {iso(first.start)} on"
