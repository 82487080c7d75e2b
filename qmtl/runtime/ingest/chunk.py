"""Pages of a vendor that are committed together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import polars as pl

from qmtl.foundation.clock import Clock
from qmtl.foundation.errors import InvalidRequestError, LeaseError, SourceUnavailableError
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.frames import empty_bars, stamps
from qmtl.foundation.grid import Grid
from qmtl.foundation.observability.log import backfill_log
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import EMPTY, Coverage
from qmtl.foundation.times import LATEST
from qmtl.runtime.conformance.screen import Screened, screen
from qmtl.runtime.ingest.answers import write_of
from qmtl.runtime.ingest.committing import committed
from qmtl.runtime.ingest.foreign import log_facts
from qmtl.runtime.ingest.settlement import SettlementPolicy
from qmtl.runtime.io.store.contract import Store
from qmtl.runtime.io.store.values import Commit, Write
from qmtl.runtime.io.vendors.base import Page

# A commit begins with this many rows, or with what came within this many seconds. From a source that is
# faster, as many again are read while it is under way: a kill loses at most one chunk, which is both.
COMMIT_ROWS = 65_536
CHUNK_ROWS = 2 * COMMIT_ROWS
CHUNK_SECONDS = 1.0


@dataclass
class Known:
    """What is known of the cells that are asked for.

    stored: they hold a row. refused: missing, because their rows were impossible. bridged: known, and asked
    for only because they lie between missing ones; nothing is committed for them.
    """

    stored: Coverage = EMPTY
    refused: Coverage = EMPTY
    bridged: Coverage = EMPTY


class OnSaved(Protocol):
    def __call__(self, answered: Coverage, screened: Screened, commit: Commit) -> None: ...


@dataclass(frozen=True)
class ChunkTarget:
    """Where chunks of one backfill go. `fenced` adds the fencing tokens that a write needs."""

    store: Store
    clock: Clock
    series: SeriesId
    grid: Grid
    facts: SeriesFacts
    source: str
    settlement: SettlementPolicy
    known: Known
    fenced: Callable[[Write], Write]
    on_saved: OnSaved


class Chunk:
    """Pages of one question, committed when there are enough of them. `is_kept`: `kept` is under way."""

    def __init__(self, target: ChunkTarget) -> None:
        self._target = target
        self._saving: list[asyncio.Future[Commit]] = []
        self._begun: tuple[Coverage, asyncio.Future[Commit]] | None = None
        self.is_kept = False
        self._clear()

    def _clear(self) -> None:
        self.pages: list[Page] = []
        self._rows = 0
        self._asked_at = LATEST
        self._opened = self._target.clock.monotonic()

    @property
    def is_large(self) -> bool:
        """Whether there are rows enough for a commit."""
        return self._rows >= COMMIT_ROWS

    @property
    def is_old(self) -> bool:
        """Whether what has come should be committed before more is read."""
        return bool(self.pages) and self._target.clock.monotonic() - self._opened >= CHUNK_SECONDS

    def add(self, page: Page, asked_at: int) -> None:
        """`asked_at` (ns) is when the page was asked for: bars that closed later may be unfinished in it."""
        self._asked_at = min(self._asked_at, asked_at)
        self.pages.append(page)
        self._rows += page.frame.height

    def begin(self) -> None:
        """Begin to commit what has come. The commit before it must have `ended`."""
        self._begun = self._save()

    async def ended(self) -> Coverage | None:
        """Wait for the commit that has begun; what it answers for, or None if none has.

        It goes on though this is cancelled. Raises what the store raises.
        """
        if self._begun is None:
            return None
        (answered, saving), self._begun = self._begun, None
        try:
            await asyncio.shield(saving)
        except asyncio.CancelledError:
            await self.kept()  # the shards stay claimed until it has ended
            raise
        return answered

    def keep(self) -> asyncio.Future[Any] | None:
        """Begin to commit what has come, if anything has; `saving`.

        For callers that leave: pages that are refused now will be refused when they are asked for again, and
        who has lost the lease may keep nothing, so that it is enough to log it.
        """
        if self.pages:
            span = Coverage(page.answered for page in self.pages).hull
            try:
                self._save()
            except (SourceUnavailableError, LeaseError) as error:
                backfill_log.warning(
                    "backfill.failed", **log_facts(self._target.series, error.span or span), error=error.what
                )
        return self.saving

    @property
    def saving(self) -> asyncio.Future[Any] | None:
        """The end of all commits that are under way; None if none is."""
        self._saving = [saving for saving in self._saving if not saving.done()]
        if len(self._saving) < 2:
            return self._saving[0] if self._saving else None
        return asyncio.gather(*self._saving, return_exceptions=True)

    async def kept(self) -> None:
        """`keep`, and wait for it, however often the caller is cancelled: its shards are free afterwards.

        For callers that raise their cancellation then.
        """
        saving = self.keep()
        while saving is not None and not saving.done():
            self.is_kept = True
            with suppress(asyncio.CancelledError):
                await asyncio.wait({saving})
        self.is_kept = False

    def _save(self) -> tuple[Coverage, asyncio.Future[Commit]]:
        to, pages, asked_at = self._target, self.pages, self._asked_at
        self._clear()
        known = to.known
        answered = Coverage(page.answered for page in pages) - known.bridged
        absent = Coverage(span for page in pages for span in page.absent) - known.bridged
        screened = self._screened(pages, answered, asked_at)
        write = write_of(
            screened,
            answered,
            absent,
            grid=to.grid,
            facts=to.facts,
            source=to.source,
            asked_at=asked_at,
            settlement=to.settlement,
            stored=known.stored,
            refused_before=known.refused,
        )
        saving = committed(to.store, to.series, to.fenced(write))
        saving.add_done_callback(partial(self._saved, answered, screened))
        self._saving = [*(one for one in self._saving if not one.done()), saving]
        return answered, saving

    def _screened(self, pages: list[Page], answered: Coverage, asked_at: int) -> Screened:
        to = self._target
        frames = [page.frame for page in pages if page.frame.height]
        # In one piece: whoever takes a column as an array would copy the pieces once more.
        rows = pl.concat(frames, rechunk=True) if frames else empty_bars()
        if to.known.bridged:
            rows = rows.filter(~to.known.bridged.holds(stamps(rows)))
        try:
            return screen(rows, grid=to.grid, facts=to.facts, within=answered.hull, now=asked_at)
        except InvalidRequestError as error:
            raise SourceUnavailableError(
                f"pages of {to.source} are refused: {error.what}",
                source=to.source,
                series=to.series,
                span=answered.hull,
                why=error.why,
                next_step=f"repair the vendor {to.source}; nothing of these pages was stored",
            ) from error

    def _saved(self, answered: Coverage, screened: Screened, saving: asyncio.Future[Commit]) -> None:
        if not saving.cancelled() and saving.exception() is None:  # else its waiter gets the error
            self._target.on_saved(answered, screened, saving.result())
