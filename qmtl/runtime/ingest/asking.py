"""One vendor is asked for runs of bars, again where its connection breaks, and what comes is committed."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing

from qmtl.foundation.errors import QmtlError, SourceUnavailableError
from qmtl.foundation.observability.log import backfill_log
from qmtl.foundation.observability.metrics import Metrics
from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.runtime.ingest.backfill_result import BackfillResult
from qmtl.runtime.ingest.chunk import Chunk, ChunkTarget
from qmtl.runtime.ingest.foreign import error_text, log_facts
from qmtl.runtime.ingest.pages import pages_of
from qmtl.runtime.ingest.questions import questions
from qmtl.runtime.ingest.stall_guard import StallGuard
from qmtl.runtime.io.vendors.base import Vendor

# Asking for bars again changes nothing at the vendor's, so a broken connection is tried again, with jitter.
TRIES = 4
FIRST_PAUSE_S = 0.5


class VendorQuestions:
    """The questions of one backfill. chunk: the pages that are read now, or were read last.

    on_committed: awaited after each commit that nobody has cancelled.
    """

    def __init__(
        self,
        vendor: Vendor,
        target: ChunkTarget,
        result: BackfillResult,
        metrics: Metrics,
        on_committed: Callable[[], Awaitable[None]],
    ) -> None:
        self._vendor = vendor
        self._target = target
        self._result = result
        self._metrics = metrics
        self._on_committed = on_committed
        self.chunk: Chunk | None = None

    async def ask(self, rest: Coverage) -> None:
        """One question, asked again for the rest of it when the connection breaks."""
        to, source = self._target, self._target.source
        pause, guard = FIRST_PAUSE_S, StallGuard(to.grid)
        for left in reversed(range(TRIES)):
            before = rest
            try:
                for part in questions(rest, to.known.refused & rest, to.grid):
                    self._result.asked.append(part)
                    async for answered in self._pages(part, guard):
                        rest = rest - answered
                return
            except _BrokeOff as broken:
                cause = broken.__cause__
                if left == 0:
                    raise SourceUnavailableError(
                        f"{source} broke off {TRIES} times",
                        source=source,
                        series=to.series,
                        span=rest.hull,
                        is_away=isinstance(cause, ConnectionError | TimeoutError | socket.gaierror),
                        why=error_text(cause) if cause else None,
                        next_step="try again later; what was committed stays, and only the rest is asked for",
                    ) from cause
                self._metrics.count_retry(source)
                pause = FIRST_PAUSE_S if rest != before else pause * 2
                backfill_log.warning(
                    "backfill.retry",
                    **log_facts(to.series, rest.hull),
                    error=str(cause),
                    pause_s=round(pause, 3),
                )
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))

    async def _pages(self, run: Span, guard: StallGuard) -> AsyncIterator[Coverage]:
        """Read pages of `run`, commit them in chunks, and yield what was answered once it is durable."""
        to = self._target
        chunk = self.chunk = Chunk(to)
        broken: BaseException | None = None
        answers = pages_of(self._vendor, to.series, to.facts, run, source=to.source, guard=guard)
        async with aclosing(answers):
            try:
                while True:
                    asked_at = to.clock.now()
                    try:
                        page = await anext(answers, None)
                    except (OSError, QmtlError, SystemExit, KeyboardInterrupt) as cause:
                        page, broken = None, cause
                    if self._result.stopped:  # the vendor ignored its cancellation
                        raise asyncio.CancelledError
                    if page is None:
                        break
                    chunk.add(page, asked_at)
                    is_slow = chunk.is_old
                    if is_slow or chunk.is_large:
                        yield await self._ended(chunk)
                        chunk.begin()
                    if is_slow:  # from a fast source, the next pages are read while these are committed
                        yield await self._ended(chunk)
            except asyncio.CancelledError:
                # What has come is kept before the vendor closes its connections, which may take longer.
                await chunk.kept()
                raise
        # What came before a break is as good as ever: only the rest is worth asking for.
        yield await self._ended(chunk)
        if chunk.pages:
            chunk.begin()
            yield await self._ended(chunk)
        if isinstance(broken, OSError) and not isinstance(broken, QmtlError):
            raise _BrokeOff from broken
        if broken is not None:
            raise broken

    async def _ended(self, chunk: Chunk) -> Coverage:
        """What the commit that has begun answers for, now that it is durable; nothing if none has."""
        answered = await chunk.ended()
        if answered is None:
            return EMPTY
        await self._on_committed()
        return answered


class _BrokeOff(Exception):
    """The vendor's connection broke (the cause says how), as opposed to a file or a pipe of our own."""
