"""Many series are planned as they are needed, judged as a read judges them, and reported as one."""

from __future__ import annotations

import gc
import pickle
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import polars as pl
import pytest

import qmtl
from qmtl.foundation.series import SeriesId
from qmtl.foundation.states import STATES
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import HOUR, MINUTE, to_ns
from qmtl.runtime.conformance.universe import Found, SeriesRollup
from qmtl.runtime.io.vendors.base import Page
from qmtl.runtime.sdk import universe_tasks
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.sdk.universe_runs import names_in
from qmtl.runtime.sdk.universe_tasks import Group, grouped
from qmtl.runtime.testing.store_proxy import StoreProxy
from qmtl.runtime.testing.vendors import Change, Raise, ScriptedVendor, Stop

BOTH_ENGINES = True

Make = Callable[..., SeamlessDataProvider]

A, B, C, BAD = (f"ohlcv:{venue}:X/USDT:1m" for venue in ("a", "b", "c", "bad"))
DAWN = to_ns("2024-01-01")
SPAN = Span(DAWN, DAWN + 4 * HOUR)


def spiked(page: Page) -> Page:
    mark = pl.int_range(page.frame.height) == 100
    high = pl.when(mark).then(pl.col("high") * 100).otherwise("high").alias("high")
    return Page(page.frame.with_columns(high), page.answered, page.absent)


def filled(make: Make) -> SeamlessDataProvider:
    """A whole series, one with a spike, one that stops in the middle, and one that has nothing."""
    vendors = {
        "ohlcv:a:*": ScriptedVendor(),
        "ohlcv:b:*": ScriptedVendor(faults={0: Change(spiked)}),
        "ohlcv:c:*": ScriptedVendor(page_rows=100, faults={1: Stop()}),
        "ohlcv:bad:*": ScriptedVendor(faults=dict.fromkeys(range(9), Stop())),
    }
    provider = make(vendors)
    provider.fetch_many([A, B, C], *SPAN, partial_ok=True)
    return make({"*": ScriptedVendor(faults=dict.fromkeys(range(99), Raise(AssertionError("asked"))))})


# -- judging


def test_a_universe_is_judged_as_a_read_judges_each_of_its_series(make: Make) -> None:
    provider = filled(make)
    report = provider.revalidate([A, B, C, BAD, "nonsense"], *SPAN)
    assert list(report) == [A, B, C, BAD, "nonsense"]
    for name in (A, B, C, BAD):
        read = provider.fetch(name, *SPAN, strategy="FAIL_FAST", partial_ok=True)
        one = report[name]
        assert {state: one.states.get(state, 0) for state in STATES} == read.coverage.counts
        assert one.found == {
            finding.rule: Found(finding.count, finding.raises) for finding in read.report.findings
        }
        assert not one.failures
    assert report[B].raising("warning") >= 1, "the spike is found"
    assert [failure.kind for failure in report.failures["nonsense"]] == ["InvalidRequestError"]
    assert [name for name, _ in report.worst_first] == ["nonsense", B, BAD, C, A]


def test_nothing_that_reads_have_kept_is_used_and_nothing_is_kept(make: Make) -> None:
    provider = filled(make)
    seen: list[Any] = []

    class Watched(StoreProxy):
        def read_many(self, *args: Any, **options: Any) -> Any:
            seen.append(options.get("flags_by"))
            return self.inner.read_many(*args, **options)

    watched = make(store=Watched(provider.store))
    watched.fetch(A, *SPAN)
    before = watched.last_conformance_report
    watched.revalidate([A, B], *SPAN)
    assert seen == [{}]
    assert watched.last_conformance_report is before


def test_reports_are_archived_as_by_a_read(make: Make) -> None:
    provider = filled(make)
    series = SeriesId.parse(C)
    archived = len(provider.store.reports(series))
    provider.revalidate([C], *SPAN)
    once = len(provider.store.reports(series))
    provider.revalidate([C], *SPAN)
    assert len(provider.store.reports(series)) == once, "what finds nothing new writes nothing"
    assert once - archived <= 1


def test_accepted_warnings_do_not_raise(make: Make) -> None:
    provider = filled(make)
    assert not provider.revalidate([B], *SPAN).passes
    provider.accept(B, *SPAN)
    report = provider.revalidate([B], *SPAN)
    assert report.passes
    assert sum(found.bars for found in report[B].found.values()) >= 1


def test_without_an_end_only_closed_bars_count(make: Make) -> None:
    provider = make(ScriptedVendor())
    start = to_ns("2024-01-31T23:00Z")  # the clock stands at 00:00:30
    provider.fetch(A, start)
    report = provider.revalidate([A, "ohlcv:a:X/USDT:1h"], start)
    assert report[A].states == {"present": 60}
    assert report["ohlcv:a:X/USDT:1h"].states == {"unknown": 1}
    ahead = provider.revalidate([A], start, start + 2 * HOUR)
    assert ahead[A].states == {"present": 60, "unknown": 60}
    assert (ahead[A].not_closed, ahead[A].missing) == (60, 0)
    assert ahead.passes


def test_budgets_are_for_people_who_wait(make: Make) -> None:
    provider = filled(make)
    impatient = make(sla=qmtl.SLAPolicy(storage_wait=1e-9, min_coverage=1.0))
    assert impatient.revalidate([A, C], *SPAN) == provider.revalidate([A, C], *SPAN)


# -- filling


def test_a_universe_is_filled_and_then_judged(make: Make) -> None:
    vendors = {"ohlcv:a:*": ScriptedVendor(), "ohlcv:b:*": ScriptedVendor(faults={0: Change(spiked)})}
    provider = make(vendors)
    names = [A, B, BAD, "nonsense"]
    report = provider.backfill_many(names, *SPAN)
    assert report.work == "backfill"
    assert report[A].states == {"present": 240}
    assert report[B].raising("warning") >= 1
    assert [failure.what for failure in report.failures[BAD]] == ["no vendor serves this series"]
    assert "name a vendor" in report.failures[BAD][0].next_step
    assert report[BAD].states == {"unknown": 240}, "what is known of it is said all the same"
    assert len(vendors["ohlcv:a:*"].calls) == 1
    provider.backfill_many(names, *SPAN)
    assert len(vendors["ohlcv:a:*"].calls) == 1, "nothing is asked twice"


def test_an_error_of_somebodys_own_vendor_is_of_its_series_alone(make: Make) -> None:
    class Broken:
        async def pages(self, series: SeriesId, span: Span) -> AsyncIterator[Page]:
            raise ZeroDivisionError("in the vendor")
            yield

    vendor = ScriptedVendor()
    provider = make({"ohlcv:bad:*": Broken(), "*": vendor})
    report = provider.backfill_many([A, BAD, B], *SPAN)
    assert [(one.kind, one.what) for one in report.failures[BAD]] == [
        ("SourceUnavailableError", "Broken failed")
    ]
    assert report[A].states == report[B].states == {"present": 240}
    assert sorted(str(call.series) for call in vendor.calls) == [A, B]


def test_a_defect_that_one_series_meets_is_of_this_series_alone(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = filled(make)
    judge = universe_tasks._judged

    def broken(parts: Any, group: Group) -> Any:
        if B in group.names:
            raise ZeroDivisionError("a defect")
        return judge(parts, group)

    whole = provider.revalidate([A, B, C], *SPAN)
    monkeypatch.setattr(universe_tasks, "_judged", broken)
    report = provider.revalidate([A, B, C], *SPAN)
    assert [(one.kind, one.what) for one in report.failures[B]] == [("ZeroDivisionError", "a defect")]
    assert (report[A], report[C]) == (whole[A], whole[C])


def test_a_calendar_that_fails_is_of_its_series_alone(make: Make) -> None:
    class Broken:
        def sessions(self, span: Span) -> qmtl.Coverage:
            raise ZeroDivisionError("in the calendar")

    make(ScriptedVendor()).fetch_many([A, B], *SPAN)
    report = make(calendars={"ohlcv:b:*": Broken()}).revalidate([A, B], *SPAN)
    assert report[A].states == {"present": 240}
    assert list(report.failures) == [B]


def test_what_nobody_could_look_at_is_missing_all_the_same(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As much as is missing where nothing is stored, by the calendar and by the clock."""
    stocks = "ohlcv:stocks:X:1h"
    calendars = {"ohlcv:stocks:*": "XNYS"}
    bounds = [("2024-01-26", "2024-02-03"), ("2024-01-31T22:30Z", None), ("2024-01-01", "2024-01-01")]
    names = [A, stocks, "ohlcv:week:X:1w", "nonsense"]
    for start, end in bounds:
        monkeypatch.undo()
        empty = make(calendars=calendars).revalidate(names, start, end)

        def broken(*_: Any) -> Any:
            raise ZeroDivisionError("a defect")

        monkeypatch.setattr(universe_tasks, "_judged", broken)
        report = make(calendars=calendars).revalidate(names, start, end)
        assert len(report.failures) == 4
        for name in names:
            assert (report[name].states, report[name].missing) == (empty[name].states, empty[name].missing)
    monkeypatch.undo()

    class Broken:
        def sessions(self, span: Span) -> qmtl.Coverage:
            raise ZeroDivisionError("in the calendar")

    report = make(calendars={"ohlcv:stocks:*": Broken()}).revalidate([stocks], "2024-01-26", "2024-01-27")
    assert (list(report.failures), report.missing) == ([stocks], 24), "each hour may be expected"


# -- what is asked for


def test_patterns_stand_for_what_is_stored_and_each_series_counts_once(make: Make) -> None:
    provider = filled(make)
    assert list(provider.revalidate("ohlcv:?:*", *SPAN)) == [A, B, C]
    assert list(provider.revalidate([B, "ohlcv:*", SeriesId.parse(B)], *SPAN)) == [B, A, C]
    assert list(provider.revalidate(A, *SPAN)) == [A]
    with pytest.raises(qmtl.InvalidRequestError, match="no stored series matches"):
        provider.revalidate("ohlcv:nobody:*", *SPAN)
    assert len(provider.revalidate([], *SPAN)) == 0


@pytest.mark.parametrize(
    ("series", "bounds", "words"),
    [
        ([A], (SPAN.end, SPAN.start), "comes after end"),
        ([A], ("2025-01-01", "2025-02-01"), "wholly in the future"),
        ([A, 7], SPAN, "7 is not a node id"),
        (7, SPAN, "no collection of series"),
        ([A], ("yesterday", None), "yesterday"),
    ],
)
def test_what_is_wrong_for_all_is_raised(make: Make, series: Any, bounds: Any, words: str) -> None:
    for work in ("backfill_many", "revalidate"):
        with pytest.raises(qmtl.InvalidRequestError, match=words):
            getattr(make(), work)(series, *bounds)


def test_a_closed_provider_does_nothing(make: Make) -> None:
    provider = make(clock=None)
    provider.close()
    with pytest.raises(qmtl.InvalidRequestError, match="closed"):
        provider.revalidate([A], *SPAN)


def test_groups_hold_so_many_series_and_so_many_bars() -> None:
    read: list[str] = []

    def names() -> Iterator[str]:
        for number in range(10):
            read.append(f"ohlcv:a:S{number}:1m")
            yield read[-1]

    groups = grouped(names(), 100 * MINUTE, most=4, bars=350)
    assert next(groups) == tuple(read[:3])
    assert len(read) == 4, "no more is read than shows that a group is full"
    assert [len(group) for group in groups] == [3, 3, 1]
    assert [len(g) for g in grouped(["nonsense"] * 9, 100 * MINUTE, most=4, bars=350)] == [4, 4, 1]
    assert [len(g) for g in grouped(read[:2], 100 * MINUTE, most=4, bars=10)] == [1, 1]
    assert list(names_in([A, A, B], list)) == [A, B]


# -- engines


def test_threads_work_with_the_provider_itself(make: Make) -> None:
    vendor = ScriptedVendor()
    provider = make({"*": vendor})
    names = [f"ohlcv:a:S{number}/USDT:1m" for number in range(50)]
    with ThreadPoolExecutor(3) as pool:
        report = provider.backfill_many(iter(names), *SPAN, pool)
    assert report.passes
    assert sorted(report) == sorted(names)
    assert sorted(str(call.series) for call in vendor.calls) == sorted(names)
    with ThreadPoolExecutor(3) as pool:
        assert provider.revalidate(names, *SPAN, pool) == provider.revalidate(names, *SPAN)


class Forgetful(Executor):
    """Does the work, and gives something else."""

    def __init__(self, given: object) -> None:
        self.given = given

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        fn(*args, **kwargs)
        future: Future[Any] = Future()
        future.set_result(self.given)
        return future


@pytest.mark.parametrize("given", [None, "done", [], {}, {"another": 1}])
def test_an_executor_that_gives_something_else_is_refused(make: Make, given: object) -> None:
    provider = make({"ohlcv:a:*": ScriptedVendor()})
    with pytest.raises(qmtl.InvalidRequestError, match="does not give what its work has returned"):
        provider.backfill_many(A, *SPAN, executor=Forgetful(given))


class Remote(Executor):
    """As an engine elsewhere: what goes there and comes back is pickled. It answers for each series."""

    def __init__(self, in_flight: int) -> None:
        self._max_workers = in_flight // 2
        self._waiting: list[tuple[Future[Any], Any]] = []
        self.sizes: list[tuple[int, int, int]] = []
        self.most = 0

    def submit(self, fn: Any, /, *args: Any, **_: Any) -> Future[Any]:
        sent = pickle.dumps((fn, args))
        future: Future[Any] = Future()
        self._waiting.append((future, args[0]))
        self.most = max(self.most, len(self._waiting))
        if len(self._waiting) == 2 * self._max_workers or len(args[0].names) < 32:
            for one, group in self._waiting:
                found = {
                    name: SeriesRollup({"present": 240}, found={"quality.price_spike": Found(3, 3)})
                    for name in group.names
                }
                back = pickle.dumps(found)
                self.sizes.append((len(group.names), len(sent), len(back)))
                one.set_result(pickle.loads(back))
            self._waiting.clear()
        return future


def test_ten_thousand_series_take_no_more_of_the_caller_than_their_report(make: Make) -> None:
    provider = make(clock=None)

    def peak_of(count: int) -> tuple[int, Remote, int]:
        """Bytes beyond what is left when all is done, which is the report."""
        engine = Remote(8)
        gc.collect()
        tracemalloc.start()
        report = provider.revalidate((f"ohlcv:a:S{n}/USDT:1m" for n in range(count)), *SPAN, engine)
        gc.collect()
        left, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(report) == count
        return peak - left, engine, left

    peak_of(321)  # what is loaded at the first use
    small, _, _ = peak_of(993)
    large, engine, left = peak_of(10_000)
    assert engine.most <= 8
    assert left < 1_000 * 10_000, "a few hundred bytes for each series"
    assert large < small + 1_000_000, "planning and waiting take the same, however many there are"
    # What a task takes on its way, and brings back.
    series, sent, back = engine.sizes[0]
    assert (series, back // series < 300) == (32, True)
    assert sent < 6_000


def test_a_task_is_small_and_whole_after_a_pickle() -> None:
    group = Group("revalidate", (A, B), SPAN.start, None, SPAN.end)
    assert pickle.loads(pickle.dumps(group)) == group
    assert len(pickle.dumps(group)) < 300
