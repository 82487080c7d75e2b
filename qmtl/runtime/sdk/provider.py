"""The one object that people use: ask for bars, get all of them, checked, in time, with a receipt."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack, overload

import polars as pl

from qmtl.foundation.calendars import Calendar
from qmtl.foundation.clock import Clock
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.html import facts_table
from qmtl.foundation.observability.metrics import Unread
from qmtl.foundation.series import SeriesId
from qmtl.foundation.sla import SLAPolicy
from qmtl.foundation.states import BarStates
from qmtl.foundation.texts import fact_lines, on_screen
from qmtl.foundation.times import to_ns, warn_of_small_ints
from qmtl.runtime.conformance.pipeline import ConformancePipeline
from qmtl.runtime.conformance.report import ConformanceReport
from qmtl.runtime.ingest.backfill_result import OnProgress
from qmtl.runtime.ingest.settlement import SettlementPolicy
from qmtl.runtime.io.store.contract import Store
from qmtl.runtime.io.vendors.base import LiveFeed, Vendor
from qmtl.runtime.planning.request import Fill
from qmtl.runtime.sdk.fetching import Fetcher, series_of
from qmtl.runtime.sdk.look_ahead import refuse_reading
from qmtl.runtime.sdk.options import FetchOptions
from qmtl.runtime.sdk.profile_table import ProfileRow
from qmtl.runtime.sdk.results import FetchResult
from qmtl.runtime.sdk.wiring import GIB, MIB, provider_parts

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from prometheus_client import CollectorRegistry

    from qmtl.foundation.schema.registry.contract import SchemaRegistry
    from qmtl.foundation.settings import Settings
    from qmtl.runtime.conformance.universe import UniverseReport
    from qmtl.runtime.coordination.distributed import DistributedBackfillCoordinator
    from qmtl.runtime.sdk.corrections import RefreshResult, RetractResult
    from qmtl.runtime.sdk.flags_check import FlagsCheck
    from qmtl.runtime.sdk.import_target import ImportParts
    from qmtl.runtime.sdk.listening import Listening
    from qmtl.runtime.sdk.results_many import BackfillManyResult, FetchManyResult

# What only some methods need they import themselves: whoever fetches what is stored does not wait for it.


class SeamlessDataProvider:
    """Looks for bars in cache, storage, backfill and live, in that order, and checks what it gives.

    store: a directory (made if it is not there) for the embedded store; or a `Store` that is open already,
        which `close` leaves open for whoever opened it.
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
    schemas: the registry whose schemas rows must have; left out, those that come with this package.
    validation_mode: "canary" (rows that break the schema are reported and counted) or "strict" (they raise);
        left out, what the governance of the subject says.
    default_validation_mode: where that says nothing; left out, QMTL_SCHEMA_VALIDATION_MODE, else canary.
    declared: patterns of node ids to `SeriesFacts`, as `seamless.series` of qmtl.yml.
    profiles: rows that settle several of these at once for one pattern; they stand before all others.
    rules: how long an empty answer takes to settle, and when an absence is asked about again.
    retention: seconds of history that compaction keeps for `as_of`; None keeps all.
    max_staleness: for how many seconds an answer from the cache may lack what other machines commit to a
        store on a server; 0 asks the server each time. A folder tells at once, whatever this says.
    progress: whether a fetch that takes more than a second shows how far it is: a bar on the terminal behind
        stderr, or in a notebook; nothing elsewhere.
    max_bytes: how much the rows of one answer of several series may take, 48 bytes for each bar expected;
        `fetch_many` refuses more, and `scan_many` never has more at once.
    coordinator: the URL of a `qmtl serve coordinator`, which keeps machines that share the store from asking
        for the same bars; or a `DistributedBackfillCoordinator`, which `close` leaves open. Left out,
        QMTL_SEAMLESS_COORDINATOR_URL. While it does not answer, only the processes of this machine exclude
        each other, and the receipt says so.
    coordinator_token: a bearer token for that URL.

    Safe to use from several threads. A context manager, for `with` and `async with`.
    """

    def __init__(
        self,
        store: str | PathLike[str] | Store,
        vendors: Mapping[str, Vendor] | Vendor | None = None,
        live: Mapping[str, LiveFeed] | LiveFeed | None = None,
        calendars: Mapping[str, str | Calendar] | None = None,
        conformance: ConformancePipeline | None = None,
        sla: SLAPolicy | None = None,
        cache_bytes: int = 256 * MIB,
        partial_ok: bool = False,
        metrics_registry: CollectorRegistry | Unread | None = None,
        clock: Clock | None = None,
        *,
        schemas: SchemaRegistry | None = None,
        validation_mode: str | None = None,
        default_validation_mode: str | None = None,
        declared: Iterable[tuple[str, SeriesFacts]] = (),
        profiles: Iterable[ProfileRow] = (),
        rules: SettlementPolicy | None = None,
        retention: float | None = None,
        max_staleness: float = 0.0,
        progress: bool = True,
        max_bytes: int = 2 * GIB,
        coordinator: str | DistributedBackfillCoordinator | None = None,
        coordinator_token: str | None = None,
    ) -> None:
        options: dict[str, Any] = {
            "vendors": vendors,
            "live": live,
            "calendars": calendars,
            "declared": tuple(declared),
            "sla": sla,
            "profiles": tuple(profiles),
            "conformance": conformance,
            "cache_bytes": cache_bytes,
            "metrics_registry": metrics_registry,
            "clock": clock,
            "schemas": schemas,
            "validation_mode": validation_mode,
            "default_validation_mode": default_validation_mode,
            "rules": rules,
            "retention": retention,
            "max_staleness": max_staleness,
            "partial_ok": partial_ok,
            "progress": progress,
            "max_bytes": max_bytes,
            "coordinator": coordinator,
            "coordinator_token": coordinator_token,
        }
        parts = provider_parts(store, **options)
        self._made_of = {"store": store, **options}
        self._parts = parts
        self._fetcher = Fetcher(parts)
        parts.life.belong_to(self)

    @classmethod
    def from_settings(
        cls,
        settings: Settings | str | PathLike[str] | None = None,
        *,
        progress: bool = True,
        metrics_registry: CollectorRegistry | Unread | None = None,
    ) -> Self:
        """A provider as `qmtl.yml` (or the file of that name in this folder) and QMTL_ variables say."""
        from qmtl.runtime.sdk.from_settings import provider_options

        return cls(**provider_options(settings), progress=progress, metrics_registry=metrics_registry)

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
            was made.

        Raises `InvalidRequestError`, `SeamlessSLAExceeded`, `SourceUnavailableError`, `MissingDataError` or
        `ConformancePipelineError`; the last four are holes, violations and findings of the answer with
        `partial_ok`.
        """
        fetcher, began = self._fetcher, self._parts.clock.monotonic()
        fetcher.refuse_unusable()
        options: FetchOptions = {
            "strategy": strategy,
            "sla": sla,
            "partial_ok": partial_ok,
            "as_of": as_of,
            "fill": fill,
            "on_progress": on_progress,
            "progress": progress,
        }
        context = fetcher.begun(series_of(series), start, end, options, began=began)
        finish = self._parts.executor.drive_local(context)
        if finish is None:
            finish = self._parts.loop.run(fetcher.driven(context))
        return fetcher.answer(context, finish)

    async def fetch_async(
        self, series: str | SeriesId, start: Any, end: Any = None, **options: Unpack[FetchOptions]
    ) -> FetchResult:
        """`fetch` for asyncio: never blocks the caller's loop on the store or the network."""
        from qmtl.runtime.ingest.threads import in_own_thread

        fetcher, began = self._fetcher, self._parts.clock.monotonic()
        fetcher.refuse_unusable()
        # What the cache holds is answered at once; a thread would take longer than the answer.
        if fetcher.is_at_hand(series, options):
            context, finish = fetcher.cached(series, start, end, options, began=began)
        else:
            context, finish = await in_own_thread(fetcher.cached, series, start, end, options, began=began)
        if finish is not None:
            return fetcher.answer(context, finish)
        finish = await self._parts.loop.wait(fetcher.driven(context))
        return await in_own_thread(fetcher.answer, context, finish)

    def fetch_many(
        self, series: Iterable[str | SeriesId], start: Any, end: Any = None, **options: Unpack[FetchOptions]
    ) -> FetchManyResult:
        """Several series at once, each once; options as for `fetch`.

        With `partial_ok` one bad series never stops the others: its error is in `r.errors[series]`. Without,
        the first error is raised, after the others were cancelled (or were done); what they committed stays.
        Raises `InvalidRequestError` for more than `max_bytes` of rows; then use `scan_many`.
        """
        from qmtl.runtime.sdk import several

        panel = several.read_stored(self._fetcher, series, start, end, options)
        return panel.result if panel.is_done else self._parts.loop.run(panel.finished())

    def scan_many(
        self, series: Iterable[str | SeriesId], start: Any, end: Any = None, **options: Unpack[FetchOptions]
    ) -> Iterator[FetchManyResult]:
        """`fetch_many` for one range of time after the other, with all series in each, in order of time.

        However long the range is, the rows of two answers together stay within `max_bytes`: of the one that
        the caller has, and of the next. The ranges meet, and every bar is in the one that it opens in. Each
        is read at the newest commit of its moment; `as_of` reads all of them at one. An error ends it.
        """
        from qmtl.runtime.sdk import several

        def fetch_many(names: list[str], first: int, last: Any) -> FetchManyResult:
            return self.fetch_many(names, first, last, **options)

        return several.scan(self._fetcher, series, start, end, options, fetch_many)

    async def fetch_many_async(
        self, series: Iterable[str | SeriesId], start: Any, end: Any = None, **options: Unpack[FetchOptions]
    ) -> FetchManyResult:
        """`fetch_many` for asyncio."""
        from qmtl.runtime.ingest.threads import in_own_thread
        from qmtl.runtime.sdk import several

        panel = await in_own_thread(several.read_stored, self._fetcher, series, start, end, options)
        return panel.result if panel.is_done else await self._parts.loop.wait(panel.finished())

    def coverage(
        self, series: str | SeriesId, start: Any, end: Any = None, *, as_of: Any = None
    ) -> BarStates:
        """The five states of each bar in `[start, end)` as the store knows them; asks nobody."""
        self._fetcher.begin()
        return self._fetcher.coverage(series, start, end, as_of=as_of)

    def now(self) -> int:
        """Wall time in int nanoseconds UTC, by the clock of the provider."""
        refuse_reading("ask for the time")
        return self._parts.clock.now()

    def listen(self, lags: Mapping[SeriesId, float | None]) -> Listening:
        """Follow the feeds of these series, for a run in paper mode: what closes is stored.

        lags: seconds for which a bar is waited for; None has no bound. Raises `InvalidRequestError` where a
        series has no feed.
        """
        from qmtl.runtime.sdk.listening import listening  # most providers follow nothing

        self._fetcher.begin()
        parts = self._parts
        return listening(lags, parts.profiles, parts.executor, parts.loop)

    def has_vendor(self, series: str | SeriesId) -> bool:
        """Whether a vendor can be asked for bars of `series`; asks nobody."""
        return self._parts.profiles.of(series_of(series)).vendor is not None

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
        fetcher = self._fetcher
        fetcher.begin()
        if not isinstance(series, str | SeriesId):
            from qmtl.runtime.sdk import several

            return self._parts.loop.run(
                several.backfill_each(fetcher, series, start, end, partial_ok, on_progress, progress)
            )
        context, finish = fetcher.to_fill(series, start, end, on_progress, progress)
        if finish is None:
            finish = self._parts.loop.run(fetcher.driven(context))
        return fetcher.states_after(context, finish)

    def backfill_many(
        self,
        series: str | SeriesId | Iterable[str | SeriesId],
        start: Any,
        end: Any = None,
        executor: Executor | None = None,
        *,
        on_done: Callable[[UniverseReport], None] | None = None,
    ) -> UniverseReport:
        """Ask vendors for what is missing of any number of series, and judge what is stored then.

        series: node ids; one with `*` or `?` is a pattern of those that are stored. They are read as they are
        needed, and what fails with one of them stands in the report, and stops no other.
        executor: any `concurrent.futures.Executor`; left out, one group of series is done after the other.
        Its tasks claim what they fill, as `backfill` does, so that doing one again asks for nothing twice.
        What is lost with a worker is done again; after some attempts it is a failure in the report.
        on_done: called with a report of the series of each task, as tasks end.

        Raises `InvalidRequestError` for a range that cannot be used, and where no worker can do a task.
        """
        return self._over_universe("backfill", series, start, end, executor, on_done)

    def revalidate(
        self,
        series: str | SeriesId | Iterable[str | SeriesId],
        start: Any,
        end: Any = None,
        executor: Executor | None = None,
        *,
        on_done: Callable[[UniverseReport], None] | None = None,
    ) -> UniverseReport:
        """Judge again what is stored of any number of series, without what earlier reads have kept.

        No vendor is asked. Reports are archived as by a read. For all else see `backfill_many`.
        """
        return self._over_universe("revalidate", series, start, end, executor, on_done)

    def _over_universe(
        self,
        work: str,
        series: str | SeriesId | Iterable[str | SeriesId],
        start: Any,
        end: Any,
        executor: Executor | None,
        on_done: Callable[[UniverseReport], None] | None,
    ) -> UniverseReport:
        from qmtl.runtime.sdk.universe_runs import over_universe

        self._fetcher.begin()
        return over_universe(self._parts, self._made_of, work, series, start, end, executor, on_done)

    # -- correcting -------------------------------------------------------------------------------------

    def refresh(
        self,
        series: str | SeriesId,
        start: Any,
        end: Any = None,
        *,
        on_progress: OnProgress | None = None,
        progress: bool | None = None,
    ) -> RefreshResult:
        """Ask the vendor again for all bars in `[start, end)` that have an answer; what differs now.

        So are bars whose rows were refused as impossible, also those that a fetch does not ask for yet.
        Changed bars are corrections: the new values win, the old ones stay readable by `as_of`. A bar that
        the vendor no longer has is kept and named. Memory stays bounded, but for the corrections. Raises as
        `backfill` does; what was committed before an error stays.
        """
        from qmtl.runtime.sdk import correcting

        self._fetcher.begin()
        return correcting.refresh(self._fetcher, series, start, end, on_progress, progress)

    def retract(self, series: str | SeriesId, start: Any, end: Any, *, reason: str) -> RetractResult:
        """Make all bars in `[start, end)` unknown: their rows and answers no longer count.

        The rows stay readable by `as_of`, and `reason` is kept with the commit (see `commits`). The next
        fetch asks the vendor again.
        """
        from qmtl.runtime.sdk import correcting

        self._fetcher.begin()
        return correcting.retract(self._fetcher, series, start, end, reason)

    def commits(self, series: str | SeriesId) -> pl.DataFrame:
        """The commits of a series, oldest first: times to read `as_of`, and what happened then.

        Columns as_of (Int64, ns), committed_at, kind (write, declare, retract, repair), start, end (null:
        the whole series), writer, reason.
        """
        from qmtl.runtime.sdk.corrections import commits_frame

        self._fetcher.begin()
        return commits_frame(self.store.commits(series_of(series)))

    def accept(
        self, series: str | SeriesId, start: Any, end: Any = None, *, rules: Iterable[str] = ()
    ) -> dict[str, tuple[int, int]]:
        """Accept the warnings that stored bars of `[start, end)` raise now: all, or those of `rules`.

        Per rule: bars (for rules of frequency: spans) found, and how many of them are newly accepted. A bar
        that changes later raises again. Raises `InvalidRequestError` for a rule that is no warning.
        """
        from qmtl.runtime.sdk.acceptance import accept_warnings, check_rules

        chosen = check_rules(rules)
        self._fetcher.begin()
        request, profile = self._fetcher.request(series, start, end, partial_ok=True)
        return accept_warnings(
            self.store,
            self._parts.executor.local.pipeline,
            request.series,
            request.span,
            chosen,
            grid=profile.grid,
            facts=profile.facts,
            binding=profile.schema,
            now=request.opened_at,
        )

    def diff(
        self, series: str | SeriesId, as_of_a: Any, as_of_b: Any, *, partial_ok: bool = False
    ) -> pl.DataFrame:
        """What changed between two commits: `ts`, `change` (added, removed, changed), `old_*`, `new_*`.

        Raises `StoreCorruptError` where damage hides what has changed; `partial_ok` leaves these ranges out.
        """
        before, after = to_ns(as_of_a, name="as_of_a"), to_ns(as_of_b, name="as_of_b")
        for as_of in (as_of_a, as_of_b):
            warn_of_small_ints(as_of)
        return self.store.diff(series_of(series), before, after, partial_ok=partial_ok)

    def verify_flags(self, *, repair: bool = False) -> FlagsCheck:
        """Find again all flags that reads have kept in the store, and compare; `repair` replaces others.

        Reads use kept flags until a commit touches what they rest on. Whatever differs is a fault of this
        package, or of a calendar that changed under the same version.
        """
        from qmtl.runtime.sdk.flags_check import check_flags

        self._fetcher.begin()
        parts = self._parts
        parts.life.keeper.flush()
        return check_flags(self.store, parts.executor.local.pipeline, parts.profiles, repair=repair)

    @property
    def store(self) -> Store:
        """The store itself; it is closed with the provider, unless it was handed over open."""
        refuse_reading("take the store of a provider")
        return self._parts.store

    # -- looking ----------------------------------------------------------------------------------------

    @property
    def last_conformance_report(self) -> ConformanceReport | None:
        """The report of the newest answer; None before the first."""
        last = self._fetcher.last
        return None if last is None else last.report

    def __repr__(self) -> str:
        return on_screen([type(self).__name__, *fact_lines(self._facts())])

    def _repr_html_(self) -> str:
        return facts_table(self._facts())

    def _facts(self) -> list[tuple[str, str]]:
        """Where the store is, how many series it has, and who is asked for more."""
        if self._parts.life.closed:
            return [("store", self.store.location), ("state", "closed")]
        table = self._parts.profiles.table
        return [
            ("store", self.store.location),
            ("series", f"{len(self.store.list_series()):,}"),
            ("vendors", table.vendors or "none"),
            ("live feeds", table.feeds or "none"),
        ]

    # -- life -------------------------------------------------------------------------------------------

    @property
    def import_parts(self) -> ImportParts:
        """What `import_file` judges rows by when it is handed this provider."""
        from qmtl.runtime.sdk.import_target import ImportParts

        parts = self._parts
        return ImportParts(
            parts.profiles.declarations,
            parts.executor.local.pipeline,
            parts.executor.rules,
            parts.clock,
            parts.schemas,
        )

    def close(self) -> None:
        """Cancel what goes on behind answers; close vendors, feeds, registry, and the store that was opened.

        A store that was handed over stays open. A second call does nothing. A vendor or feed that fails to
        close is logged; one that hangs is left behind after some seconds. What is never closed is closed when
        the provider is garbage, or when the program ends.
        """
        self._parts.life.close()

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
        import asyncio

        await asyncio.to_thread(self.close)
