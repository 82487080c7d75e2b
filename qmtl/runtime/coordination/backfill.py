"""Missing bars are claimed, asked for, checked and committed, chunk by chunk."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import ExitStack, aclosing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

import polars as pl

from qmtl.foundation.clock import Clock
from qmtl.foundation.errors import InvalidRequestError, QmtlError, SourceUnavailableError
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.frames import empty_bars, stamps
from qmtl.foundation.grid import Grid
from qmtl.foundation.observability.log import backfill_log
from qmtl.foundation.observability.metrics import Metrics
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.foundation.times import LATEST, SECOND
from qmtl.runtime.conformance.findings import Finding
from qmtl.runtime.conformance.screen import Screened, screen
from qmtl.runtime.coordination.claims import Claims
from qmtl.runtime.coordination.foreign import log_facts, told
from qmtl.runtime.coordination.pages import pages_of
from qmtl.runtime.coordination.patience import Patience
from qmtl.runtime.coordination.shards import questions, runs, shard_numbers, shards_coverage
from qmtl.runtime.coordination.threads import in_thread, submitted
from qmtl.runtime.io.store.base import Commit, Store, Write
from qmtl.runtime.io.survey import asked_after, refused, survey
from qmtl.runtime.io.vendors.base import Page, Vendor

# A kill loses at most one chunk: this many rows, or what came within this many seconds.
CHUNK_ROWS = 32_768
CHUNK_SECONDS = 1.0

# Somebody else's claim is looked at again after this long.
CLAIM_POLL_S = 0.05

# Each claim is an open file, and some systems allow a process no more than a few hundred. This is more than a
# year of minutes at a time.
CLAIMS_AT_ONCE = 64

# Asking for bars again changes nothing at the vendor's, so a broken connection is tried again, with jitter.
TRIES = 4
FIRST_PAUSE_S = 0.5


@dataclass(frozen=True, slots=True)
class Rules:
    """Waiting times that decide what an answer proves, in seconds."""

    settle: float = 60.0
    absent_expiry: float = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one backfill is: bars answered for, of bars asked for."""

    series: SeriesId
    done: int
    total: int


@dataclass
class Filling:
    """What a backfill did; filled while it runs, so that a cancelled one still tells."""

    source: str
    asked: list[Span] = field(default_factory=list)
    answered: Coverage = EMPTY
    with_row: Coverage = EMPTY  # bars for which the vendor gave a row, possible or not
    added: int = 0
    replaced: list[pl.DataFrame] = field(default_factory=list)
    quarantined: int = 0
    findings: list[Finding] = field(default_factory=list)
    waited_for: int = 0
    held: ExitStack = field(default_factory=ExitStack)
    stopped: bool = False
    abandoned: bool = False
    chunk: _Chunk | None = None

    def stop(self) -> asyncio.Future[Commit] | None:
        """Keep what has come, and take nothing more, even if the vendor does not listen.

        The shards are free once the commit under way, which is returned, has ended.
        """
        self.stopped = True
        saving = None if self.chunk is None else self.chunk.keep()
        if saving is None:
            self.held.close()
        else:
            saving.add_done_callback(lambda _: self.held.close())
        return saving


class OnProgress(Protocol):
    def __call__(self, progress: Progress) -> None: ...


@dataclass(frozen=True)
class Backfill:
    """Fills what is missing of one series from one vendor."""

    store: Store
    claims: Claims
    clock: Clock
    metrics: Metrics
    rules: Rules

    async def run(
        self,
        series: SeriesId,
        grid: Grid,
        facts: SeriesFacts,
        missing: Coverage,
        vendor: Vendor,
        filling: Filling,
        on_progress: OnProgress | None = None,
        again: Coverage = EMPTY,
        unless_after: int | None = None,
    ) -> None:
        """Ask for `missing`, and once more for `again`: cells that hold an answer, but one that is in doubt.

        A doubt is settled by an answer that anybody asked for after `unless_after` (ns); left out, within the
        time for which an absence holds.

        Claims what nobody else is working on, asks once per run, then waits for the others, takes what they
        committed, and claims what is still missing. Returns when nothing is left to be asked; what the
        vendor did not answer for stays unknown. Raises what the vendor raises.
        """
        if unless_after is None:
            unless_after = self.clock.now() - int(self.rules.absent_expiry * SECOND)
        wanted = missing | again
        job = _Job(self, series, grid, facts, vendor, filling, on_progress, wanted, unless_after)
        backfill_log.info(
            "backfill.started", **job.facts_of(missing.hull), bars=job.total, source=filling.source
        )
        ratio = self.metrics.completion(series, lease_key=job.lease_key)
        ratio.set(0.0)
        try:
            await job.work(again)
        except asyncio.CancelledError:
            backfill_log.warning("backfill.cancelled", **job.facts_of(missing.hull), done=job.done)
            raise
        except QmtlError as error:
            backfill_log.error(
                "backfill.failed", **job.facts_of(missing.hull), done=job.done, error=error.what
            )
            raise
        finally:
            self.metrics.completion_done(series, lease_key=job.lease_key)
        backfill_log.info(
            "backfill.completed", **job.facts_of(missing.hull), done=job.done, added=filling.added
        )


@dataclass
class _Job:
    """One run of a backfill."""

    on: Backfill
    series: SeriesId
    grid: Grid
    facts: SeriesFacts
    vendor: Vendor
    filling: Filling
    on_progress: OnProgress | None
    wanted: Coverage
    unless_after: int

    def __post_init__(self) -> None:
        self.total = self.grid.count(self.wanted)
        self._left = self.wanted
        self.stored = EMPTY
        self.refused = EMPTY  # missing, because their rows were impossible
        self.bridged = EMPTY  # known, and asked for with what lies around it

    @property
    def done(self) -> int:
        """Bars that were wanted, and are known of now."""
        return self.total - self.grid.count(self._left)

    @property
    def lease_key(self) -> str:
        return f"{self.series}/{self.filling.source}"

    def facts_of(self, span: Span) -> dict[str, str]:
        return log_facts(self.series, span)

    async def work(self, again: Coverage) -> None:
        wanted, shard = self.wanted, self.on.store.shard_steps * self.grid.step
        while wanted:
            with self.filling.held as held:
                mine: list[int] = []
                for number in shard_numbers(wanted, shard):
                    if len(mine) == CLAIMS_AT_ONCE:
                        break
                    claim = self.on.claims.take(self.series, number)
                    if claim is not None:
                        held.enter_context(claim)
                        mine.append(number)
                claimed = wanted & shards_coverage(mine, shard)
                if claimed:
                    # Between the reading and the claim somebody else may have committed.
                    known = await self._known(claimed, again)
                    self.count(known)
                    await self._fill(claimed - known)
            wanted = wanted - claimed
            if wanted and not mine:
                self.filling.waited_for += 1
                await asyncio.sleep(CLAIM_POLL_S)
                known = await self._known(wanted, again)
                self.count(known)
                wanted = wanted - known

    async def _fill(self, missing: Coverage) -> None:
        """Ask for what is missing, but not for what was refused twice, the second time lately."""
        on = self.on
        look = partial(refused, on.store, self.series, missing, self.grid, now=on.clock.now())
        self.refused, resting = await in_thread(look)
        missing, self.refused = missing - resting, self.refused - resting
        asked = questions(missing, self.refused, self.grid)
        self.bridged = asked - runs(missing, self.grid)
        for run in asked:
            await self._ask(missing.clip(run))

    def count(self, known: Coverage) -> None:
        """Cells that are known of now, wanted or not; each is counted once."""
        self._left = self._left - known

    def tell_progress(self) -> None:
        done = self.done
        self.on.metrics.completion(self.series, lease_key=self.lease_key).set(done / max(1, self.total))
        if self.on_progress is not None:
            self.on_progress(Progress(self.series, done, self.total))

    async def _known(self, cells: Coverage, again: Coverage) -> Coverage:
        """Those of `cells` that need no asking any more: a row, an answer or an absence is stored for them.

        What is to be asked again must have been asked for lately, by whoever had the claim.
        """
        store, series, grid, now = self.on.store, self.series, self.grid, self.on.clock.now()
        states = await in_thread(partial(survey, store, series, cells.hull, grid, now=now))
        self.stored |= states.present
        known = (states.present | states.no_trade | states.absent) & cells
        again = again & known
        if not again:
            return known
        settled = await in_thread(partial(asked_after, store, series, again, self.unless_after))
        return known - (again - settled)

    async def _ask(self, rest: Coverage) -> None:
        """One question, asked again for the rest of it when the connection breaks."""
        pause, patience = FIRST_PAUSE_S, Patience(self.grid)
        for left in reversed(range(TRIES)):
            before = rest
            try:
                for part in questions(rest, self.refused & rest, self.grid):
                    self.filling.asked.append(part)
                    async for answered in self._pages(part, patience):
                        rest = rest - answered
                return
            except _BrokeOff as broken:
                cause = broken.__cause__
                if left == 0:
                    raise SourceUnavailableError(
                        f"{self.filling.source} broke off {TRIES} times",
                        source=self.filling.source,
                        series=self.series,
                        span=rest.hull,
                        why=told(cause) if cause else None,
                        next_step="try again later; what was committed stays, and only the rest is asked for",
                    ) from cause
                self.on.metrics.count_retry(self.filling.source)
                pause = FIRST_PAUSE_S if rest != before else pause * 2
                backfill_log.warning(
                    "backfill.retry", **self.facts_of(rest.hull), error=str(cause), pause_s=round(pause, 3)
                )
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))

    async def _pages(self, run: Span, patience: Patience) -> AsyncIterator[Coverage]:
        """Read pages of `run`, commit them in chunks, and tell what was answered once it is durable."""
        chunk = self.filling.chunk = _Chunk(self)
        broken: BaseException | None = None
        answers = pages_of(
            self.vendor, self.series, self.facts, run, source=self.filling.source, patience=patience
        )
        async with aclosing(answers):
            try:
                while True:
                    asked_at = self.on.clock.now()
                    try:
                        page = await anext(answers, None)
                    except (OSError, QmtlError, SystemExit, KeyboardInterrupt) as cause:
                        page, broken = None, cause
                    if self.filling.stopped:  # the vendor swallowed its cancellation
                        raise asyncio.CancelledError
                    if page is None:
                        break
                    chunk.add(page, asked_at)
                    if chunk.is_full:
                        yield await chunk.commit()
            except asyncio.CancelledError:
                # What has come is kept before the vendor closes its connections, which may take longer.
                await chunk.kept()
                raise
        # What came before a break is as good as ever: only the rest is worth asking for.
        if chunk.pages:
            yield await chunk.commit()
        if isinstance(broken, OSError) and not isinstance(broken, QmtlError):
            raise _BrokeOff from broken
        if broken is not None:
            raise broken


class _BrokeOff(Exception):
    """The vendor's connection broke (the cause tells how), as opposed to a file or a pipe of our own."""


class _Chunk:
    """Pages that are committed together."""

    def __init__(self, job: _Job) -> None:
        self._job = job
        self._saving: asyncio.Future[Commit] | None = None
        self._clear()

    def _clear(self) -> None:
        self.pages: list[Page] = []
        self._rows = 0
        self._asked_at = LATEST
        self._opened = self._job.on.clock.monotonic()

    @property
    def is_full(self) -> bool:
        waited = self._job.on.clock.monotonic() - self._opened
        return self._rows >= CHUNK_ROWS or (bool(self.pages) and waited >= CHUNK_SECONDS)

    def add(self, page: Page, asked_at: int) -> None:
        """`asked_at` (ns) is when the page was asked for: what closed later may have been told unfinished."""
        self._asked_at = min(self._asked_at, asked_at)
        self.pages.append(page)
        self._rows += page.frame.height

    async def commit(self) -> Coverage:
        """Make what has come durable; what was answered. Cancelled, the commit itself goes on."""
        answered, saving = self._save()
        try:
            await asyncio.shield(saving)
        except asyncio.CancelledError:
            await self.kept()  # the shards stay claimed until it has ended
            raise
        self._job.tell_progress()
        return answered

    def keep(self) -> asyncio.Future[Commit] | None:
        """Begin to commit what has come, if anything has; the commit that is under way, or None.

        For those who leave: what is refused now is refused when it is asked for again, and logged here.
        """
        if self.pages:
            try:
                self._save()
            except SourceUnavailableError as error:
                facts = self._job.facts_of(error.span or self._job.wanted.hull)
                backfill_log.warning("backfill.failed", **facts, done=self._job.done, error=error.what)
        return None if self._saving is None or self._saving.done() else self._saving

    async def kept(self) -> None:
        """`keep`, and wait for it."""
        saving = self.keep()
        if saving is not None:
            await asyncio.wait({saving})

    def _save(self) -> tuple[Coverage, asyncio.Future[Commit]]:
        job, now = self._job, self._asked_at
        pages = self.pages
        self._clear()
        answered = Coverage(page.answered for page in pages) - job.bridged
        said_absent = Coverage(span for page in pages for span in page.absent) - job.bridged
        frames = [page.frame for page in pages if page.frame.height]
        rows = pl.concat(frames) if frames else empty_bars()
        if job.bridged:
            rows = rows.filter(~job.bridged.holds(stamps(rows)))
        try:
            screened = screen(rows, grid=job.grid, facts=job.facts, within=answered.hull, now=now)
        except InvalidRequestError as error:
            raise SourceUnavailableError(
                f"pages of {job.filling.source} are refused: {error.what}",
                source=job.filling.source,
                series=job.series,
                span=answered.hull,
                why=error.why,
                next_step=f"mend the vendor {job.filling.source}; nothing of these pages was stored",
            ) from error
        write = judge_answer(
            screened,
            answered,
            said_absent,
            grid=job.grid,
            now=now,
            rules=job.on.rules,
            source=job.filling.source,
            facts=job.facts,
        )
        # A bar that has a row keeps it, and the answer that brought it, if this row for it is impossible.
        retracted = write.retracted - job.stored
        write = replace(
            write,
            retracted=retracted,
            refused=retracted & job.refused,
            refused_until=now + int(job.on.rules.absent_expiry * SECOND),
        )
        self._saving = submitted(job.on.store.commit, job.series, write)
        self._saving.add_done_callback(partial(self._saved, answered, screened))
        return answered, self._saving

    def _saved(self, answered: Coverage, screened: Screened, saving: asyncio.Future[Commit]) -> None:
        if saving.cancelled() or saving.exception() is not None:
            return  # whoever waits for it hears of it
        job, filling, commit = self._job, self._job.filling, saving.result()
        job.on.metrics.count_commit(
            job.series, filling.source, added=commit.added, quarantined=screened.quarantine.height
        )
        filling.answered |= answered
        filling.with_row |= job.grid.cells(stamps(screened.clean)) | screened.retracted
        filling.added += commit.added
        filling.quarantined += screened.quarantine.height
        filling.findings.extend(screened.findings)
        if commit.replaced.height:
            filling.replaced.append(commit.replaced)
        job.count(answered)
        backfill_log.info(
            "backfill.committed",
            **job.facts_of(answered.hull),
            tx=commit.tx,
            added=commit.added,
            quarantined=screened.quarantine.height,
        )


def judge_answer(
    screened: Screened,
    answered: Coverage,
    absent: Coverage,
    *,
    grid: Grid,
    now: int,
    rules: Rules,
    source: str,
    facts: SeriesFacts,
) -> Write:
    """What an answer proves, as a write. `now` (ns) is when it was asked for.

    An answered bar without a row did not trade only if it had closed `settle` before that. Bars whose rows
    were impossible stay unknown, and lose an earlier word too. What is called absent holds until it expires.
    """
    present = grid.cells(stamps(screened.clean))
    settled = answered.clip(
        Span(answered.hull.start, max(answered.hull.start, grid.floor(now - int(rules.settle * SECOND))))
    )
    impossible = screened.retracted
    return Write(
        source=source,
        checked_at=now,
        frame=screened.clean,
        answered=(settled | (present & answered)) - impossible - (absent - present),
        absent=absent - present,
        absent_until=now + int(rules.absent_expiry * SECOND),
        retracted=impossible - present,
        quarantine=screened.quarantine if screened.quarantine.height else None,
        declared=facts.storable,
    )
