"""What a worker of a fleet does is written down where it happens: at its leases, its store and its vendor."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

import aiohttp
import numpy as np
import polars as pl

from qmtl.foundation.clock import Clock
from qmtl.foundation.errors import SourceUnavailableError, StaleFenceError
from qmtl.foundation.frames import bars
from qmtl.foundation.observability.metrics import Metrics
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import SECOND
from qmtl.runtime.coordination.fallback_leases import ClosableLeases, FallbackLeases
from qmtl.runtime.coordination.shard_leases import (
    Claimed as Answer,
)
from qmtl.runtime.coordination.shard_leases import (
    Done,
    Granted,
    ShardLeases,
    ShardRequest,
)
from qmtl.runtime.io.store.contract import Store
from qmtl.runtime.io.store.values import Commit, Write
from qmtl.runtime.io.vendors.base import Page
from qmtl.runtime.testing.store_proxy import StoreProxy
from tests.qmtl.stories.fleet.history import (
    Asked,
    Claimed,
    Committed,
    Completed,
    Fenced,
    HistoryFile,
    Spans,
)

MILLISECOND = SECOND // 1000
# The claim under which the running task works.
_claim: ContextVar[str] = ContextVar("claim")

now = time.monotonic_ns


def spans_of(cells: Coverage) -> Spans:
    return tuple((start, end) for start, end in cells)


class RecordedLeases(FallbackLeases):
    """Writes down what each claim is answered, and what is told to be complete."""

    file: HistoryFile
    worker: str

    async def claim(self, requests: Sequence[ShardRequest], *, claim_id: str) -> list[Answer]:
        _claim.set(claim_id)
        at = now()
        answers = await super().claim(requests, claim_id=claim_id)
        until = now()
        for request, answer in zip(requests, answers, strict=True):
            kind = (
                "granted" if isinstance(answer, Granted) else "done" if isinstance(answer, Done) else "held"
            )
            self.file.write(
                Claimed(
                    self.worker,
                    at,
                    until,
                    request.key.series,
                    request.key.shard,
                    claim_id,
                    spans_of(request.cells),
                    kind,  # type: ignore[arg-type]
                    not (isinstance(answer, Granted) and answer.uncoordinated),
                    answer.as_of if isinstance(answer, Done) else None,
                )
            )
        return answers

    async def complete(self, grants: Sequence[Granted], *, as_of: int) -> None:
        at = now()
        await super().complete(grants, as_of=as_of)
        coordinated = [grant for grant in grants if grant.uncoordinated is None]
        if coordinated:
            first = coordinated[0]
            shards = tuple(grant.key.shard for grant in coordinated)
            self.file.write(
                Completed(self.worker, at, now(), first.key.series, shards, first.claim_id, as_of)
            )


def recorded_leases(file: HistoryFile, worker: str) -> type[FallbackLeases]:
    """Leases that write to this file, in place of those that providers make."""

    class OfThisWorker(RecordedLeases):
        def __init__(
            self, first: ClosableLeases, local: ShardLeases, metrics: Metrics, clock: Clock | None = None
        ) -> None:
            super().__init__(first, local, metrics, clock)
            self.file, self.worker = file, worker

    return OfThisWorker


class RecordedStore(StoreProxy):
    """Writes down the tokens that it gives, and the commits that it takes or refuses."""

    def __init__(self, inner: Store, file: HistoryFile, worker: str) -> None:
        super().__init__(inner)
        self._file = file
        self._worker = worker
        self._claims: dict[tuple[str, int, int], str] = {}

    def open_fence(self, series: SeriesId, shards: Iterable[int], claim_id: str) -> dict[int, int]:
        at = now()
        tokens = self.inner.open_fence(series, shards, claim_id)
        self._claims |= {(series.text, shard, token): claim_id for shard, token in tokens.items()}
        self._file.write(
            Fenced(self._worker, at, now(), series.text, claim_id, tuple(sorted(tokens.items())))
        )
        return tokens

    def commit(self, series: SeriesId, write: Write) -> Commit:
        return self._recorded({series: write}, lambda: {series: self.inner.commit(series, write)})[series]

    def commit_many(self, writes: Mapping[SeriesId, Write]) -> dict[SeriesId, Commit]:
        return self._recorded(writes, lambda: self.inner.commit_many(writes))

    def _recorded(
        self, writes: Mapping[SeriesId, Write], commit: Callable[[], dict[SeriesId, Commit]]
    ) -> dict[SeriesId, Commit]:
        begun = {series: self._begun(series, write) for series, write in writes.items() if write.fences}
        numbers = {series: self._file.write(event) for series, event in begun.items()}
        try:
            commits = commit()
        except StaleFenceError:
            for series, event in begun.items():
                self._file.write(replace(event, until=now(), outcome="refused"), numbers[series])
            raise
        for series, event in begun.items():
            tx, as_of = commits[series].tx, commits[series].as_of
            accepted = replace(event, until=now(), outcome="accepted", tx=tx, as_of=as_of)
            self._file.write(accepted, numbers[series])
        return commits

    def _begun(self, series: SeriesId, write: Write) -> Committed:
        tokens = tuple(sorted(write.fences.items()))
        shard, token = tokens[0]
        answered = spans_of(write.answered | write.absent)
        claim = self._claims[series.text, shard, token]
        return Committed(self._worker, now(), None, series.text, claim, tokens, answered)


class RecordedVendor:
    """Klines of a simulated exchange, in pages that ask for exactly what is wanted, one after another."""

    name = "exchange"

    def __init__(self, url: str, file: HistoryFile, worker: str, *, rows: int, pause_s: float) -> None:
        self._url = url
        self._file = file
        self._worker = worker
        self._rows = rows
        self._pause_s = pause_s

    async def pages(self, series: SeriesId, span: Span) -> AsyncIterator[Page]:
        self._file.write(Asked(self._worker, now(), series.text, _claim.get(), span.start, span.end))
        step, timeframe = series.timeframe.step, str(series.timeframe)
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
            for start in range(span.start, span.end, self._rows * step):
                part = Span(start, min(start + self._rows * step, span.end))
                query = {
                    "symbol": series.symbol.replace("/", ""),
                    "interval": timeframe,
                    "startTime": str(part.start // MILLISECOND),
                    "endTime": str(part.end // MILLISECOND - 1),
                    "limit": str(self._rows),
                }
                try:
                    async with session.get(f"{self._url}/api/v3/klines", params=query) as response:
                        response.raise_for_status()
                        rows = await response.json()
                except (aiohttp.ClientError, TimeoutError) as cause:
                    raise SourceUnavailableError(
                        "the exchange does not answer", source=self.name, series=series, span=part
                    ) from cause
                yield Page(_frame(rows), part)
                await asyncio.sleep(self._pause_s)


def _frame(rows: list[Any]) -> pl.DataFrame:
    names = ("open", "high", "low", "close", "volume")
    columns = {name: [float(row[number + 1]) for row in rows] for number, name in enumerate(names)}
    return bars(np.array([row[0] for row in rows], dtype=np.int64) * MILLISECOND, columns)
