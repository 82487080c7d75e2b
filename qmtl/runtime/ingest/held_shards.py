"""The shards that one backfill holds at a time: claimed, shown, and freed however the work ends."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.frames import stamps
from qmtl.foundation.grid import Grid
from qmtl.foundation.leases import LeaseKey, ShardProgress
from qmtl.foundation.observability.log import backfill_log
from qmtl.foundation.observability.metrics import Metrics
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import EMPTY, Coverage
from qmtl.foundation.words import counted
from qmtl.runtime.coordination.shard_leases import Done, Granted, Held, ShardLeases, ShardRequest
from qmtl.runtime.coordination.shards import shard_numbers, shard_span, shards_coverage
from qmtl.runtime.ingest.backfill_result import LostHolder
from qmtl.runtime.ingest.foreign import error_text, log_facts
from qmtl.runtime.ingest.threads import in_thread
from qmtl.runtime.io.store.contract import Fencing
from qmtl.runtime.io.store.fencing import shards_of
from qmtl.runtime.io.store.values import Write

# How long a vendor may take to end once it is cancelled.
_DEAF_S = 0.25


class HeldShards:
    """What `claim` was granted. `waiting` and `done` are the answers of those that it was not.

    fences: the token of each shard, for the writes of this work. time: all that the shards cover.
    """

    def __init__(self, leases: ShardLeases, series: SeriesId, width: int) -> None:
        self._leases = leases
        self._series = series
        self._width = width
        self._totals: dict[Granted, tuple[Coverage, int]] = {}
        self._shown: Coverage | None = None
        self._ending: asyncio.Future[None] | None = None
        self.claim_id = uuid.uuid4().hex
        self.grants: list[Granted] = []
        self.waiting: list[Held] = []
        self.done: list[Done] = []
        self.fences: Mapping[int, int] = {}

    async def claim(self, wanted: Coverage, whole: Coverage, *, store_id: str, read_as_of: int) -> None:
        """Claim the shards that `whole` touches, up to `most_at_once`, for the `wanted` cells."""
        numbers = shard_numbers(whole, self._width)
        while numbers and (free := self._leases.most_at_once - len(self.grants)):
            batch, numbers = numbers[:free], numbers[free:]
            requests = [
                ShardRequest(
                    LeaseKey(store_id, self._series.text, number),
                    wanted.clip(shard_span(number, self._width)),
                    read_as_of,
                )
                for number in batch
            ]
            for answer in await self._leases.claim(requests, claim_id=self.claim_id):
                match answer:
                    case Granted():
                        self.grants.append(answer)
                    case Held():
                        self.waiting.append(answer)
                    case Done():
                        self.done.append(answer)

    async def open_fences(self, store: Fencing) -> None:
        """From now on the store refuses what those write who held these shards before.

        Raises `LeaseError` if the shards are not held any more: somebody else may have opened theirs.
        """
        self._leases.still_held(self.grants)
        numbers = [grant.key.shard for grant in self.grants]
        self.fences = await in_thread(store.open_fence, self._series, numbers, self.claim_id)

    async def while_held(self, work: Coroutine[Any, Any, None]) -> None:
        """Do the work. As soon as a lease is known to be lost it is cancelled, and `LeaseError` is raised.

        Work that ignores its cancellation is left behind; what it would commit is refused by `fenced`.
        """
        lost = self._leases.lost(self.grants)
        if lost is None:
            await work
            return
        working, watching = asyncio.ensure_future(work), asyncio.ensure_future(lost)
        try:
            await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                await working
                return
            self._cancel(working)
            await asyncio.wait({working}, timeout=_DEAF_S)
            raise watching.result()
        except asyncio.CancelledError:
            self._cancel(working)
            await asyncio.wait({working})
            raise
        finally:
            watching.cancel()

    def _cancel(self, working: asyncio.Future[None]) -> None:
        """Nobody waits any more for how the work ends: an error of it is logged."""
        facts = log_facts(self._series, self.time.hull)

        def ended(work: asyncio.Future[None]) -> None:
            if not work.cancelled() and (error := work.exception()) is not None:
                backfill_log.warning("backfill.failed", **facts, error=error_text(error))

        working.add_done_callback(ended)
        working.cancel()

    @property
    def uncoordinated(self) -> str | None:
        """Why some of the shards exclude the workers of this machine alone; None if all are coordinated."""
        return next((grant.uncoordinated for grant in self.grants if grant.uncoordinated is not None), None)

    @property
    def time(self) -> Coverage:
        return shards_coverage([grant.key.shard for grant in self.grants], self._width)

    def keys_of(self, cells: Coverage) -> list[str]:
        """The lease keys of the shards that `cells` touch."""
        touched = set(shard_numbers(cells, self._width))
        return [str(grant.key) for grant in self.grants if grant.key.shard in touched]

    def fenced(self, write: Write) -> Write:
        """The write with the tokens of the shards that it touches.

        Raises `LeaseError` if the shards are known to be lost, and `InvalidRequestError` where a token is
        lacking: a store takes a write without any for an import.
        """
        self._leases.still_held(self.grants)
        touched = {
            *shard_numbers(write.covered, self._width),
            *shards_of(stamps(write.frame), self._width),
        }
        if bare := touched - self.fences.keys():
            raise InvalidRequestError(
                "a backfill may not write to a shard without a fencing token",
                series=self._series,
                why=f"it has no token for {counted(len(bare), 'shard')} that it touches, such as {min(bare)}",
                next_step="claim the shards that it writes to, and open their fences first",
            )
        return replace(write, fences={n: token for n, token in self.fences.items() if n in touched})

    def show(self, metrics: Metrics, grid: Grid, wanted: Coverage, left: Coverage) -> None:
        """Set the gauge of each shard: which part of its wanted cells is known. `left` only shrinks."""
        news = wanted if self._shown is None else self._shown - left
        self._shown = left
        touched = set(shard_numbers(news, self._width))  # by one commit, a few of many
        for grant in self.grants:
            if grant.key.shard not in touched:
                continue
            span = shard_span(grant.key.shard, self._width)
            if grant not in self._totals:
                cells = wanted.clip(span)
                self._totals[grant] = cells, grid.count(cells)
            cells, total = self._totals[grant]
            if total:
                known = total - grid.count(cells & left.clip(span))
                metrics.completion(self._series, lease_key=str(grant.key)).set(known / total)

    def hide(self, metrics: Metrics) -> None:
        """Take the gauges away."""
        for grant in self._totals:
            metrics.completion_done(self._series, lease_key=str(grant.key))

    async def renew(self, progress: ShardProgress) -> None:
        await self._leases.renew(self.grants, progress)

    async def complete(self, *, as_of: int, without_answer: Coverage = EMPTY) -> None:
        """All has been asked for, and what was answered is stored at `as_of` (ns).

        Shards with cells that the vendor did not answer for are not completed, they fail.
        """
        if self._ending is not None:
            return
        lacking = set(shard_numbers(without_answer, self._width))
        whole = [grant for grant in self.grants if grant.key.shard not in lacking]
        if whole:
            await self._leases.complete(whole, as_of=as_of)
        self.grants = [grant for grant in self.grants if grant.key.shard in lacking]
        if self.grants:
            bars = without_answer.length // self._series.timeframe.step
            await self._leases.fail(self.grants, why=f"the vendor did not answer for {counted(bars, 'bar')}")
            self.grants = []

    def fail(
        self, *, why: str, after: asyncio.Future[Any] | None = None, is_away: bool = False
    ) -> asyncio.Future[None]:
        """Free what is held, once `after` has ended; more calls change nothing. is_away: see its `fail`."""
        if self._ending is None:
            self._ending = asyncio.ensure_future(self._fail(why, after, is_away))
            self._ending.add_done_callback(partial(self._not_begun, why))
        return self._ending

    def _not_begun(self, why: str, ending: asyncio.Future[None]) -> None:
        """A loop that is being closed cancels all tasks, also those that have not had their first step."""
        if ending.cancelled() and self.grants:
            self._ending = asyncio.ensure_future(self._fail(why, None, False))

    async def _fail(self, why: str, after: asyncio.Future[Any] | None, is_away: bool) -> None:
        try:
            if after is not None:
                await asyncio.wait({after})
        finally:
            await self._leases.fail(self.grants, why=why, is_away=is_away)
            self.grants = []


class WaitedFor:
    """Whom one backfill has found at work on a shard that it wants, from one claim to the next."""

    def __init__(self) -> None:
        self._holders: dict[LeaseKey, str] = {}

    def ended(self, shards: HeldShards) -> list[Granted | Held]:
        """Of the answers to a claim, those by which somebody who was waited for has ended in vain."""
        answers: list[Granted | Held] = [*shards.grants, *shards.waiting]
        found = [
            answer
            for answer in answers
            if answer.ended is not None and self._holders.get(answer.key) == answer.ended.holder
        ]
        self._holders = {other.key: other.holder for other in shards.waiting}
        return found


def lost_holder(answer: Granted | Held, left: int, now: int) -> LostHolder:
    """left: bars of the shard that nobody has answered for. now: ns."""
    ended = answer.ended
    assert ended is not None  # see `WaitedFor`
    by = answer.holder if isinstance(answer, Held) else None
    noticed_at = now if ended.at is None else ended.at
    return LostHolder(str(answer.key), ended.holder, ended.why, noticed_at, left, by)
