"""The one object that people use: ask for bars, get all of them, checked, in time, with a receipt."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self, Unpack, overload

import polars as pl

from qmtl.foundation.calendars import Calendar
from qmtl.foundation.clock import Clock, SystemClock
from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.grid import Grid
from qmtl.foundation.html import facts_table
from qmtl.foundation.observability.metrics import Metrics
from qmtl.foundation.schema.governance import ValidationMode
from qmtl.foundation.series import SeriesId
from qmtl.foundation.sla import SLAPolicy
from qmtl.foundation.states import BarStates
from qmtl.foundation.texts import fact_lines, on_screen
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import SECOND, SMALL_INT, iso, to_ns, warn_of_small_ints
from qmtl.runtime.conformance.pipeline import ConformancePipeline
from qmtl.runtime.conformance.report import ConformanceReport
from qmtl.runtime.coordination.backfill import Filling, OnProgress, Rules
from qmtl.runtime.coordination.claims import Claims
from qmtl.runtime.io.cache import RangeCache
from qmtl.runtime.io.store.damage import corrupt
from qmtl.runtime.io.store.embedded import EmbeddedStore
from qmtl.runtime.io.survey import survey
from qmtl.runtime.io.vendors.base import LiveFeed, Vendor
from qmtl.runtime.planning.request import Fill, Request, Tier, strategy_named
from qmtl.runtime.planning.session import Finish, open_session
from qmtl.runtime.sdk.accepting import accept_warnings, check_rules
from qmtl.runtime.sdk.answer import Answerer
from qmtl.runtime.sdk.corrections import RefreshResult, RetractResult, checked_reason, commits_frame
from qmtl.runtime.sdk.declared import Declared
from qmtl.runtime.sdk.flights import Flights
from qmtl.runtime.sdk.journey import Journey
from qmtl.runtime.sdk.loop_thread import LoopThread
from qmtl.runtime.sdk.open_parts import OpenParts
from qmtl.runtime.sdk.options import FetchOptions, check_common, check_fill, check_policy, check_range
from qmtl.runtime.sdk.progress import BOARD
from qmtl.runtime.sdk.results import FetchResult, Pending
from qmtl.runtime.sdk.results_many import BackfillManyResult, FetchManyResult
from qmtl.runtime.sdk.schemas import Schemas, mode_named, records_of
from qmtl.runtime.sdk.several import for_each, names_of
from qmtl.runtime.sdk.shell import Shell
from qmtl.runtime.sdk.sources import CcxtByVenue, Sources, name_of

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from qmtl.foundation.schema.registry import SchemaRegistry

MIB = 1024 * 1024


class ImportParts(NamedTuple):
    """How a provider judges rows that are imported."""

    declared: Declared
    pipeline: ConformancePipeline
    rules: Rules
    clock: Clock
    schemas: Schemas


class SeamlessDataProvider:
    """Looks for bars in cache, storage, backfill and live, in that order, and checks what it gives.

    store: a directory (made if it is not there) for the embedded store.
    vendors: patterns of node ids to vendors (`{"ohlcv:binance:*": v}`, the first match wins), or one
    vendor for all.
        Left out: the exchanges of ccxt, if it is installed.
    live: patterns of node ids to live feeds, or one feed for all.
    calendars: patterns of node ids to a calendar's name (`XNYS`, `FX`, `24x7`) or to a `Calendar`. A name is
        kept in the store with the first commit that changes data of the series; an object never is.
    conformance: the pipeline that checks what comes back.
    sla: budgets of each fetch; `fetch(sla=...)` overrides them.
    cache_bytes: how much of what was read is kept at hand.
    partial_ok: whether holes and findings are answered instead of raised.
    metrics_registry: a prometheus registry; left out, the default one.
    clock: asks the time; tests hand in a fake.
    schemas: the registry whose schemas rows are held to; left out, those that come with this package.
    validation_mode: "canary" (what breaks the schema is told and counted) or "strict" (it raises); left out,
        what the governance of the subject says.
    default_validation_mode: where that says nothing; left out, QMTL_SCHEMA_VALIDATION_MODE, else canary.
    declared: patterns of node ids to `SeriesFacts`, as `seamless.series` of qmtl.yml.
    rules: how long an empty answer takes to settle, and when an absence is asked about again.
    retention: seconds of history that compaction keeps for `as_of`; None keeps all.
    progress: whether a fetch that takes more than a second shows how far it is: a bar on the terminal behind
        stderr, or in a notebook; nothing elsewhere.

    Safe to use from several threads. A context manager, for `with` and `async with`.
    """

    def __init__(
        self,
        store: str | PathLike[str],
        vendors: Mapping[str, Vendor] | Vendor | None = None,
        live: Mapping[str, LiveFeed] | LiveFeed | None = None,
        calendars: Mapping[str, str | Calendar] | None = None,
        conformance: ConformancePipeline | None = None,
        sla: SLAPolicy | None = None,
        cache_bytes: int = 256 * MIB,
        partial_ok: bool = False,
        metrics_registry: CollectorRegistry | None = None,
        clock: Clock | None = None,
        *,
        schemas: SchemaRegistry | None = None,
        validation_mode: str | None = None,
        default_validation_mode: str | None = None,
        declared: Iterable[tuple[str, SeriesFacts]] = (),
        rules: Rules | None = None,
        retention: float | None = None,
        progress: bool = True,
    ) -> None:
        self._clock = clock or SystemClock()
        self._sla = sla
        self._partial_ok = partial_ok
        self._progress = progress
        kept = None if retention is None else int(retention * SECOND)
        self.store = EmbeddedStore(store, clock=self._clock, retention=kept)
        try:
            self._declared = Declared(self.store, calendars or {}, declared)
            self._cache = RangeCache(cache_bytes)
            self._metrics = Metrics(metrics_registry)
            pipeline = conformance or ConformancePipeline()
            default = default_validation_mode or os.environ.get("QMTL_SCHEMA_VALIDATION_MODE")
            self._schemas = Schemas(
                schemas,
                records_of(schemas, self.store),
                mode=mode_named(validation_mode),
                default=mode_named(default) or ValidationMode.CANARY,
                clock=self._clock,
            )
            self._shell = Shell(
                store=self.store,
                cache=self._cache,
                claims=Claims(self.store.path / "claims"),
                vendors=CcxtByVenue() if vendors is None else Sources[Vendor](vendors),
                feeds=Sources[LiveFeed](live),
                pipeline=pipeline,
                clock=self._clock,
                metrics=self._metrics,
                rules=rules or Rules(),
                flights=Flights(),
                schemas=self._schemas,
            )
            self._answerer = Answerer(self._shell, self._schemas, self._metrics)
            self._loop = LoopThread(self._clock)
            self._parts = OpenParts(self.store, self._shell, self._schemas, self._loop)
            self._watch = threading.Lock()
            self._version = self.store.version()
            self._seen_tx = self.store.last_tx()
            self._last: FetchResult | None = None
            self._parts.belong_to(self)
        except BaseException:
            self.store.close()
            raise

    @classmethod
    def from_settings(cls, path: str | PathLike[str] | None = None) -> SeamlessDataProvider:
        """A provider as `qmtl.yml` (or the file of that name in this folder) and QMTL_ variables say."""
        from qmtl.runtime.sdk.wiring import provider_from_settings

        return provider_from_settings(path)

    # -- asking -----------------------------------------------------------------------------------------

    def fetch(
        self,
        series: str | SeriesId,
        start: Any,
        end: Any = None,
        *,
        strategy: str = "SEAMLESS",
        sla: SLAPolicy | None = None,
        partial_ok: bool | None = None,
        as_of: Any = None,
        fill: Fill | None = None,
        on_progress: OnProgress | None = None,
        progress: bool | None = None,
    ) -> FetchResult:
        """The bars of `series` that open within `[start, end)`.

        start, end: anything that `to_ns` reads; `end=None` is the last closed bar.
        strategy: FAIL_FAST, AUTO_BACKFILL, PARTIAL_FILL or SEAMLESS.
        as_of: a commit time; reads the store as it was, and asks no vendor.
        fill: "flat" or "null" adds a row, marked `filled`, for each bar that did not trade.
        on_progress: called with a `Progress` as bars come in, on a thread of the provider's.
        progress: whether a fetch that takes more than a second shows how far it is; left out, as the provider
            was told.

        Raises `InvalidRequestError`, `SeamlessSLAExceeded`, `SourceUnavailableError`, `MissingDataError` or
        `ConformancePipelineError`; the last four are holes, violations and findings of the answer with
        `partial_ok`.
        """
        self._begin()
        journey = self._open(
            series, start, end, strategy, sla, partial_ok, as_of, fill, on_progress, progress
        )
        finish = self._shell.drive_local(journey)
        if finish is None:
            finish = self._loop.run(self._driven(journey))
        return self._answer(journey, finish)

    async def fetch_async(
        self,
        series: str | SeriesId,
        start: Any,
        end: Any = None,
        *,
        strategy: str = "SEAMLESS",
        sla: SLAPolicy | None = None,
        partial_ok: bool | None = None,
        as_of: Any = None,
        fill: Fill | None = None,
        on_progress: OnProgress | None = None,
        progress: bool | None = None,
    ) -> FetchResult:
        """`fetch` for asyncio: never blocks the caller's loop on the store or the network."""
        self._refuse_unusable()

        def opened() -> tuple[Journey, Finish | None]:
            journey = self._open(
                series, start, end, strategy, sla, partial_ok, as_of, fill, on_progress, progress
            )
            return journey, self._shell.drive_local(journey, tiers=(Tier.CACHE,))

        def looked() -> tuple[Journey, Finish | None]:
            self._notice_commits()
            return opened()

        # What the cache holds is answered at once; a thread would take longer than the answer.
        if as_of is None and self._is_at_hand(_series(series), sla or self._sla):
            journey, finish = opened()
        else:
            journey, finish = await asyncio.to_thread(looked)
        if finish is not None:
            return self._answer(journey, finish)
        finish = await self._loop.wait(self._driven(journey))
        return await asyncio.to_thread(self._answer, journey, finish)

    def fetch_many(
        self, series: Iterable[str | SeriesId], start: Any, end: Any = None, **options: Unpack[FetchOptions]
    ) -> FetchManyResult:
        """Several series at once, each once; options as for `fetch`.

        With `partial_ok` one bad series never stops the others: its error is in `r.errors[series]`. Without,
        the first error is raised, after the others were cancelled (or were done); what they committed stays.
        """
        return self._loop.run(self._fetch_many(*self._checked(series, start, end, options), options))

    async def fetch_many_async(
        self, series: Iterable[str | SeriesId], start: Any, end: Any = None, **options: Unpack[FetchOptions]
    ) -> FetchManyResult:
        """`fetch_many` for asyncio."""
        return await self._loop.wait(self._fetch_many(*self._checked(series, start, end, options), options))

    def _checked(
        self, series: Iterable[str | SeriesId], start: Any, end: Any, options: FetchOptions
    ) -> tuple[list[str], Any, Any]:
        """The request for several series, if it can be made of any of them."""
        self._refuse_unusable()
        names = names_of(series, face="fetch")
        check_common(start, end, options)
        return names, start, end

    async def _fetch_many(
        self, names: list[str], start: Any, end: Any, options: FetchOptions
    ) -> FetchManyResult:
        def looked(name: str) -> tuple[Journey, Finish | None]:
            self._notice_commits()
            journey = self._open(name, start, end, **options)
            return journey, self._shell.drive_local(journey, tiers=(Tier.CACHE,))

        # Here, on the provider's own loop, a call that is cancelled has come to its end when that is heard.
        async def one(name: str) -> FetchResult:
            journey, finish = await asyncio.to_thread(looked, name)
            if finish is None:
                finish = await self._driven(journey)
            return await asyncio.to_thread(self._answer, journey, finish)

        partial_ok = self._is_partial(options.get("partial_ok"))
        return FetchManyResult(*await for_each(names, one, partial_ok=partial_ok))

    def coverage(
        self, series: str | SeriesId, start: Any, end: Any = None, *, as_of: Any = None
    ) -> BarStates:
        """The five states of each bar in `[start, end)` as the store knows them; asks nobody."""
        self._begin()
        request, grid, _ = self._request(series, start, end, "FAIL_FAST", None, True, as_of)
        now = self._clock.now()
        return survey(self.store, request.series, request.span, grid, now=now, as_of=request.as_of)

    @overload
    def backfill(
        self,
        series: str | SeriesId,
        start: Any,
        end: Any = None,
        *,
        on_progress: OnProgress | None = None,
        progress: bool | None = None,
    ) -> BarStates: ...

    @overload
    def backfill(
        self,
        series: Iterable[str | SeriesId],
        start: Any,
        end: Any = None,
        *,
        partial_ok: bool | None = None,
        on_progress: OnProgress | None = None,
        progress: bool | None = None,
    ) -> BackfillManyResult: ...

    def backfill(
        self,
        series: str | SeriesId | Iterable[str | SeriesId],
        start: Any,
        end: Any = None,
        *,
        partial_ok: bool | None = None,
        on_progress: OnProgress | None = None,
        progress: bool | None = None,
    ) -> BarStates | BackfillManyResult:
        """Ask the vendor for what is missing in `[start, end)`; the states of the bars afterwards.

        Memory stays bounded however long the range is. Raises as `fetch` does, but not for holes.
        series: one, or several at once.
        partial_ok: of several series, the error of each that failed is in `r.errors[series]`, and the others
            go on. Without, the first error is raised after the others were cancelled (or were done).
        """
        self._begin()
        if isinstance(series, str | SeriesId):
            journey, vendor, holes = self._to_fill(series, start, end, on_progress, progress)
            if holes:
                self._loop.run(self._fill(journey, vendor, holes))
            return self.coverage(series, start, end)
        names = names_of(series, face="backfill")
        check_common(start, end, {})

        async def one(name: str) -> BarStates:
            journey, vendor, holes = await asyncio.to_thread(
                self._to_fill, name, start, end, on_progress, progress
            )
            if holes:
                await self._fill(journey, vendor, holes)
            return await asyncio.to_thread(self.coverage, name, start, end)

        several = for_each(names, one, partial_ok=self._is_partial(partial_ok))
        return BackfillManyResult(*self._loop.run(several))

    def _to_fill(
        self,
        series: str | SeriesId,
        start: Any,
        end: Any,
        on_progress: OnProgress | None,
        progress: bool | None,
    ) -> tuple[Journey, Vendor, Coverage]:
        """A backfill, who is asked, and for which closed bars that nobody has answered for."""
        journey = self._open(
            series, start, end, "AUTO_BACKFILL", partial_ok=True, on_progress=on_progress, progress=progress
        )
        request = journey.request
        vendor = self._vendor_of(request.series)
        return journey, vendor, self.coverage(series, start, end).unknown.clip(request.closed)

    async def _fill(self, journey: Journey, vendor: Vendor, cells: Coverage, **options: Any) -> Filling:
        async with self._watched(journey):
            return await self._shell.fill(journey, vendor, cells, **options)

    def refresh(
        self, series: str | SeriesId, start: Any, end: Any = None, *, on_progress: OnProgress | None = None
    ) -> RefreshResult:
        """Ask the vendor again for all bars in `[start, end)` that have an answer; what differs now.

        Changed bars are corrections: the new values win, the old ones stay readable by `as_of`. A bar that
        the vendor no longer has is kept and named. Memory stays bounded, but for the corrections. Raises as
        `backfill` does; what was committed before an error stays.
        """
        self._begin()
        journey = self._open(series, start, end, "AUTO_BACKFILL", None, True, None, None, on_progress)
        request, vendor = journey.request, self._vendor_of(journey.request.series)
        earlier = self.coverage(series, start, end)
        if earlier.damaged:
            raise corrupt(
                request.series, earlier.damaged, what="nothing is left to compare with", span=request.span
            )
        before = self._newest(request.series)
        asked = (earlier.present | earlier.no_trade | earlier.absent).clip(request.closed)
        filling = Filling(name_of(vendor))
        if asked:
            asking = self._fill(journey, vendor, asked, again=asked, unless_after=request.opened_at)
            filling = self._loop.run(asking)
        after = self._newest(request.series)
        changes = self.store.diff(request.series, before, after)
        return RefreshResult(
            series=request.series,
            span=request.span,
            asked=asked,
            answered=filling.answered & asked,
            corrections=changes.filter(pl.col("ts").to_physical().is_between(*request.span, closed="left")),
            unconfirmed=(earlier.present & filling.answered) - filling.with_row,
            quarantined=filling.quarantined,
            findings=tuple(filling.findings),
            states=self.coverage(series, start, end),
            before=before,
            as_of=after,
        )

    def retract(self, series: str | SeriesId, start: Any, end: Any, *, reason: str) -> RetractResult:
        """Make all bars in `[start, end)` unknown: their rows and answers no longer count.

        The rows stay readable by `as_of`, and `reason` is kept with the commit (see `commits`). The next
        fetch asks the vendor again.
        """
        self._begin()
        request, _, _ = self._request(series, start, end, "FAIL_FAST", None, True, None)
        why = checked_reason(reason, request.series)
        before = self._newest(request.series)
        gone = self.store.retract(request.series, request.span, reason=why)
        return RetractResult(request.series, request.span, gone.rows, gone.changed, before, gone.as_of)

    def commits(self, series: str | SeriesId) -> pl.DataFrame:
        """The commits of a series, oldest first: times to read `as_of`, and what happened then.

        Columns as_of (Int64, ns), committed_at, kind (write, declare, retract, repair), start, end (null:
        the whole series), writer, reason.
        """
        self._begin()
        return commits_frame(self.store.commits(_series(series)))

    def accept(
        self, series: str | SeriesId, start: Any, end: Any = None, *, rules: Iterable[str] = ()
    ) -> dict[str, tuple[int, int]]:
        """Accept the warnings that stored bars of `[start, end)` raise now: all, or those of `rules`.

        Per rule: bars (for rules of frequency: spans) found, and how many of them are newly accepted. A
        bar that
        changes later raises again. Raises `InvalidRequestError` for a rule that is no warning.
        """
        chosen = check_rules(rules)
        self._begin()
        request, _, _ = self._request(series, start, end, "FAIL_FAST", None, True, None)
        accepted = accept_warnings(
            self.store,
            request.series,
            request.span,
            chosen,
            self._declared,
            self._shell.pipeline,
            now=request.opened_at,
        )
        if any(new for _, new in accepted.values()):
            # What raises nothing any more is the measure of later reports.
            answer = self.fetch(
                request.series, *map(iso, request.span), strategy="FAIL_FAST", partial_ok=True
            )
            self.store.archive_report(request.series, answer.report.to_json())
        return accepted

    def diff(
        self, series: str | SeriesId, as_of_a: Any, as_of_b: Any, *, partial_ok: bool = False
    ) -> pl.DataFrame:
        """What changed between two commits: `ts`, `change` (added, removed, changed), `old_*`, `new_*`.

        Raises `StoreCorruptError` where damage hides what has changed; `partial_ok` leaves these ranges out.
        """
        return self.store.diff(
            _series(series),
            to_ns(as_of_a, name="as_of_a"),
            to_ns(as_of_b, name="as_of_b"),
            partial_ok=partial_ok,
        )

    @property
    def last_conformance_report(self) -> ConformanceReport | None:
        """The report of the newest answer; None before the first."""
        return None if self._last is None else self._last.report

    def __repr__(self) -> str:
        return on_screen(["SeamlessDataProvider", *fact_lines(self._facts())])

    def _repr_html_(self) -> str:
        return facts_table(self._facts())

    def _facts(self) -> list[tuple[str, str]]:
        """Where the store is, how many series it holds, and who is asked for more."""
        if self._parts.closed:
            return [("store", str(self.store.path)), ("state", "closed")]
        return [
            ("store", str(self.store.path)),
            ("series", f"{len(self.store.list_series()):,}"),
            ("vendors", self._shell.vendors.described or "none"),
            ("live feeds", self._shell.feeds.described or "none"),
        ]

    # -- life -------------------------------------------------------------------------------------------

    @property
    def import_parts(self) -> ImportParts:
        """What `import_file` judges rows by when it is handed this provider."""
        return ImportParts(
            self._declared, self._shell.pipeline, self._shell.rules, self._clock, self._schemas
        )

    def close(self) -> None:
        """Cancel what goes on behind answers; close vendors, feeds, registry and store. Twice is once.

        A vendor or feed that fails to close is logged; one that hangs is left behind after some seconds. What
        is never closed is closed when the provider is garbage, or when the program ends.
        """
        self._parts.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)

    # -- inside -----------------------------------------------------------------------------------------

    def _open(
        self,
        series: str | SeriesId,
        start: Any,
        end: Any,
        strategy: str = "SEAMLESS",
        sla: SLAPolicy | None = None,
        partial_ok: bool | None = None,
        as_of: Any = None,
        fill: Fill | None = None,
        on_progress: OnProgress | None = None,
        progress: bool | None = None,
    ) -> Journey:
        opened = self._clock.monotonic()
        check_fill(fill, series)
        policy = sla or self._sla
        check_policy(policy, series)
        partial = self._is_partial(partial_ok)
        request, grid, facts = self._request(series, start, end, strategy, policy, partial, as_of)
        held = self._schemas.of(request.series)
        session = open_session(request, grid)
        return Journey(
            request,
            grid,
            facts,
            held,
            opened,
            session,
            fill=fill,
            on_progress=on_progress,
            shows_progress=self._progress if progress is None else progress,
        )

    def _is_partial(self, partial_ok: bool | None) -> bool:
        return self._partial_ok if partial_ok is None else partial_ok

    async def _driven(self, journey: Journey) -> Finish:
        """The journey to its end, on the provider's loop, with what a person sees meanwhile."""
        async with self._watched(journey):
            return await self._shell.drive(journey)

    @asynccontextmanager
    async def _watched(self, journey: Journey) -> AsyncIterator[None]:
        if not journey.shows_progress:
            yield
            return
        async with BOARD.showing(journey.request.series, journey.on_progress) as journey.on_progress:
            yield

    def _request(
        self,
        series: str | SeriesId,
        start: Any,
        end: Any,
        strategy: str,
        sla: SLAPolicy | None,
        partial_ok: bool,
        as_of: Any,
    ) -> tuple[Request, Grid, SeriesFacts]:
        name = _series(series)
        point = None if as_of is None else to_ns(as_of, name="as_of")
        facts, grid = self._declared.of(name) if point is None else self._declared.at(name, point)
        now = self._clock.now()
        last_closed = grid.floor(now)
        first = to_ns(start, name="start")
        last = max(first, last_closed) if end is None else to_ns(end, name="end")
        if 0 <= first < SMALL_INT:
            warn_of_small_ints(start, end)
        check_range(first, last, name)
        if first >= now:
            raise InvalidRequestError(
                f"the range [{iso(first)}, {iso(last)}) lies wholly in the future",
                series=name,
                why=f"it is {iso(now)} now",
                next_step="ask for a range that has begun",
            )
        span = grid.align(Span(first, last))
        closed = span
        if last_closed < span.end:
            closed = Span(span.start, max(span.start, last_closed))
        request = Request(name, span, closed, strategy_named(strategy), now, sla, partial_ok, point)
        return request, grid, facts

    def _newest(self, series: SeriesId) -> int:
        """The time of the newest commit, in ns; no row is read."""
        return self.store.read(series, Span(0, 0)).as_of

    def _vendor_of(self, series: SeriesId) -> Vendor:
        """Raises `InvalidRequestError` if no vendor serves the series."""
        vendor = self._shell.vendors.find(series)
        if vendor is None:
            why, next_step = self._shell.vendors.unserved(series)
            raise InvalidRequestError(
                "no vendor serves this series", series=series, why=why, next_step=next_step
            )
        return vendor

    def _begin(self) -> None:
        """What comes before a request that may look at the store."""
        self._refuse_unusable()
        self._notice_commits()

    def _refuse_unusable(self) -> None:
        if self._parts.closed:
            raise InvalidRequestError("the provider is closed", next_step="make a new SeamlessDataProvider")
        if os.getpid() != self._parts.process:
            raise InvalidRequestError(
                "the provider was made before a fork, and cannot be used in the child",
                why="a fork copies no threads, and polars has its own: the child would wait for ever",
                next_step="make the provider in the child, and start it with multiprocessing's 'spawn' "
                "or 'forkserver'",
            )

    def _is_at_hand(self, series: SeriesId, policy: SLAPolicy | None) -> bool:
        """Whether a request opens, and the cache answers it, without a disk, a registry or foreign code.

        Bounds of a policy count the bars that a calendar expects.
        """
        return (
            self._schemas.is_fresh(series)
            and self._declared.is_at_hand(series, counts=policy is not None)
            and self.store.version() == self._version
        )

    def _notice_commits(self) -> None:
        """Let go of what other processes, threads or flights have written to since the last look."""
        version = self.store.version()
        if version == self._version:
            return
        with self._watch:
            for change in self.store.changes(self._seen_tx):
                self._cache.forget(change.series, change.tx)
                self._declared.forget(change.series)
                self._seen_tx = max(self._seen_tx, change.tx)
            self._version = version

    def _answer(self, journey: Journey, finish: Finish) -> FetchResult:
        result = self._answerer.answer(journey, finish, journey.fill, self._version)
        self._last = result
        if self._schemas.wants_flush:
            self._tell_observations()
        if finish.behind:
            result = replace(result, pending=self._ask_behind(journey, finish.behind))
        return result

    def _tell_observations(self) -> None:
        """Beside us at once; over the network behind the answer."""
        if self._schemas.is_local:
            self._schemas.flush()
        else:
            self._schemas.flushing()
            self._loop.submit(asyncio.to_thread(self._schemas.flush))

    def _ask_behind(self, journey: Journey, missing: Coverage) -> Pending:
        vendor = self._shell.vendors.find(journey.request.series)
        if vendor is None:
            return Pending(None)

        async def ask() -> None:
            await self._shell.fill(journey, vendor, missing)

        future = self._loop.submit(ask())
        self._parts.behind.add(future)
        future.add_done_callback(self._parts.behind.discard)
        return Pending(future)


def _series(series: str | SeriesId) -> SeriesId:
    if isinstance(series, SeriesId):
        return series
    if not isinstance(series, str):
        raise InvalidRequestError(
            f"{series!r} is not a node id", next_step="give a text such as ohlcv:binance:BTC/USDT:1m"
        )
    return SeriesId.parse(series)
