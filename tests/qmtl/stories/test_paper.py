"""A run in paper mode goes from history to what feeds bring, and no bar is lost or comes twice."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from qmtl import (
    Bar,
    Gap,
    InvalidRequestError,
    Page,
    Portfolio,
    Runner,
    RunResult,
    SeamlessDataProvider,
    SeamlessSLAExceeded,
    SeriesId,
    SourceUnavailableError,
    Span,
    Strategy,
    StreamInput,
    Update,
    import_frame,
    node,
)
from qmtl.foundation.times import MINUTE, to_ns
from qmtl.interfaces.cli.main import app
from qmtl.runtime.sdk import run_keeper
from qmtl.runtime.testing import Deliver, FakeClock, ScriptedFeed, synthetic_bars
from qmtl.runtime.worlds.loading import load_world

A, B, A5 = "ohlcv:mine:A:1m", "ohlcv:mine:B:1m", "ohlcv:mine:A:5m"
NOW = to_ns("2024-03-02")
START, END = NOW - 30 * MINUTE, NOW + 12 * MINUTE
ALL = {name: synthetic_bars(name, Span(NOW - 120 * MINUTE, END)) for name in (A, B, A5)}
TS = pl.col("ts").cast(pl.Int64)


class Watch(Strategy):
    price = StreamInput([A, B], window=5)
    slower = StreamInput(A5, window=2)
    mean = node(price, pl.col("close").mean())
    trend = node(slower, lambda window: window["close"][-1] - window["close"][0])

    def __init__(self) -> None:
        self.seen: list[tuple[str, int]] = []
        self.gaps: list[Gap] = []

    def on_bar(self, bar: Bar, portfolio: Portfolio) -> None:
        self.seen.append((bar.series.text, bar.ts))
        # What opens at the next bar is known in time where that is no longer one.
        if bar.close > self.mean and bar.series.text != A5:
            portfolio.target(bar.series, 0.3 if self.random.random() < 0.5 else 0.1)

    def on_gap(self, gap: Gap, portfolio: Portfolio) -> None:
        self.gaps.append(gap)


class Single(Watch):
    """One series: `window=` and the rest as there."""

    price = StreamInput(A, window=5)
    slower = StreamInput(A, window=2)
    mean = node(price, pl.col("close").mean())
    trend = node(slower, pl.col("close").last())


class Feeds:
    """A script for each series."""

    def __init__(self, scripts: Mapping[str, Any]) -> None:
        self.scripts = scripts

    def bars(self, series: SeriesId) -> AsyncIterator[Update]:
        updates: AsyncIterator[Update] = self.scripts[series.text].bars(series)
        return updates


def script(name: str, *, late: float = 1.0, repeat: int = 0, without: frozenset[int] = frozenset()) -> Any:
    """Each bar `late` seconds behind its close; `repeat` of those before come first, once more."""
    step = SeriesId.parse(name).timeframe.step
    rows = ALL[name].filter(TS + step > NOW)
    lines = [Deliver(0.0, ALL[name].filter(TS + step <= NOW).tail(repeat))] if repeat else []
    passed = 0.0
    for place, ts in enumerate(rows["ts"].cast(pl.Int64).to_list()):
        at = (ts + step - NOW) / 1e9 + late
        lines.append(Deliver(at - passed, rows.slice(place, 1), closed=place not in without))
        passed = at
    return ScriptedFeed(lines, ends=not without)


class Breaking:
    """The first connection breaks after so many updates; the next one begins the script again."""

    def __init__(self, feed: ScriptedFeed, after: int) -> None:
        self.feed, self.after = feed, after
        self.calls = 0

    async def bars(self, series: SeriesId) -> AsyncIterator[Update]:
        self.calls += 1
        is_first, left = self.calls == 1, self.after
        async for update in self.feed.bars(series):
            if is_first and not left:
                raise ConnectionResetError("gone")
            left -= 1
            yield update


class Vendor:
    """Has every bar."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Span]] = []

    async def pages(self, series: SeriesId, span: Span) -> AsyncIterator[Page]:
        self.asked.append((series.text, span))
        yield Page(ALL[series.text].filter((span.start <= TS) & (span.end > TS)), Span(*span))


@contextmanager
def followed(folder: Path, feed: Any, clock: FakeClock, vendor: Any = None) -> Iterator[SeamlessDataProvider]:
    """A store with all bars up to now, and a feed."""
    if not folder.exists():
        for name, frame in ALL.items():
            import_frame(folder, frame.filter(TS + SeriesId.parse(name).timeframe.step <= NOW), name)
    vendors = {} if vendor is None else vendor
    with SeamlessDataProvider(folder, vendors, {"ohlcv:*": feed}, clock=clock, progress=False) as provider:
        yield provider


def submit(history: SeamlessDataProvider, strategy: Any, **options: Any) -> RunResult:
    given = {"start": START, "end": END, "mode": "paper", "history_provider": history, **options}
    return Runner.submit(strategy, **given)


def backtest(folder: Path, kind: type[Strategy] = Watch) -> RunResult:
    """The run over the same bars, once they are all there."""
    for name, frame in ALL.items():
        import_frame(folder, frame, name)
    with SeamlessDataProvider(folder, vendors={}) as history:
        return Runner.submit(kind, history_provider=history, start=START, end=END)


@given(st.data())
@settings(deadline=None, max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_bar_is_lost_or_doubled_over_the_seam(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("seam")
    clock = FakeClock(NOW)
    scripts: dict[str, Any] = {
        name: script(
            name,
            late=data.draw(st.sampled_from([0.0, 0.5, 20.0, 59.0, 200.0])),
            repeat=data.draw(st.integers(0, 5)),
        )
        for name in ALL
    }
    breaks = data.draw(st.none() | st.integers(1, 8))
    if breaks is not None:
        scripts[A] = Breaking(scripts[A], breaks)
    vendor = Vendor()
    strategy = Watch()
    with followed(folder / "store", Feeds(scripts), clock, vendor) as history:
        result = submit(history, strategy)
        whole = backtest(folder / "other")
        assert Runner.verify(result.proof, Watch, history_provider=history).proof == result.proof
    expected = sorted(
        (ts + step, place, name, ts)
        for place, name in enumerate(ALL)
        for step in (SeriesId.parse(name).timeframe.step,)
        for ts in ALL[name]["ts"].cast(pl.Int64).to_list()
        if ts >= START
    )
    assert strategy.seen == [(name, ts) for _, _, name, ts in expected]
    assert strategy.gaps == []
    assert result.proof.outcome == whole.proof.outcome
    assert [(part.series, part.span, part.fingerprint) for part in result.proof.read] == [
        (part.series, part.span, part.fingerprint) for part in whole.proof.read
    ]


def test_what_closes_before_the_first_bar_is_asked_for_is_not_lost(tmp_path: Path) -> None:
    class Slow(Vendor):
        async def pages(self, series: SeriesId, span: Span) -> AsyncIterator[Page]:
            clock.advance(150)  # two bars close while history is fetched
            async for page in super().pages(series, span):
                yield page

    clock = FakeClock(NOW)
    strategy = Single()
    feed = script(A)
    rows = ALL[A].filter(pl.col("ts").cast(pl.Int64) < NOW)
    import_frame(tmp_path / "store", rows.head(rows.height - 7), A)
    with followed(tmp_path / "store", feed, clock, Slow()) as history:
        submit(history, strategy)
    assert [ts for _, ts in strategy.seen] == list(range(START, END, MINUTE))


def test_without_an_end_it_ends_with_its_feed(tmp_path: Path) -> None:
    strategy = Single()
    with followed(tmp_path / "store", script(A), FakeClock(NOW)) as history:
        result = submit(history, strategy, end=None)
    assert [ts for _, ts in strategy.seen] == list(range(START, END, MINUTE))
    assert result.proof.span == Span(START, END)


WORLD = """
world:
  id: mine
  data:
    definitions:
      - preset: mine.1m
        meaning: Mine.
        series: "ohlcv:mine:{symbol}:1m"
        vendor: {kind: files, path: "nothing/{symbol}.csv"}
    presets:
      - id: majors
        preset: mine.1m
        universe: {symbols: [A, B]}
        seamless: {backfill_mode: background}
        live: {max_lag: 30s, allow_partial: ALLOWED}
"""


class Majors(Watch):
    price = StreamInput(preset="majors", window=5)
    slower = StreamInput(preset="majors", window=2)
    mean = node(price, pl.col("close").mean())
    trend = node(slower, pl.col("close").last())


def in_a_world(tmp_path: Path, allowed: str, strategy: Strategy, vendor: Any = None, **how: Any) -> RunResult:
    (tmp_path / "world.yml").write_text(WORLD.replace("ALLOWED", allowed))
    feeds = Feeds({A: script(A), B: script(B, **how)})
    with followed(tmp_path / "store", feeds, FakeClock(NOW), vendor) as history:
        return submit(history, strategy, world=load_world(tmp_path / "world.yml"))


def test_a_bar_that_does_not_come_in_time_ends_the_run(tmp_path: Path) -> None:
    strategy = Majors()
    with pytest.raises(SeamlessSLAExceeded) as raised:
        in_a_world(tmp_path, "false", strategy, without=frozenset({3}))
    error = raised.value
    assert (error.phase, error.limit, error.series, error.span) == (
        "max_lag", 30.0, B, Span(NOW + 3 * MINUTE, NOW + 4 * MINUTE),
    )  # fmt: skip
    assert "within 30 s of its close" in str(error)
    assert strategy.seen[-1] == (B, NOW + 2 * MINUTE)


@pytest.mark.parametrize("how", [{"without": frozenset({3, 4})}, {"late": 45.0}])
def test_others_go_on_where_that_is_allowed(tmp_path: Path, how: dict[str, Any]) -> None:
    strategy = Majors()
    result = in_a_world(tmp_path, "true", strategy, **how)
    places = [3, 4] if "without" in how else list(range(12))
    lost = [NOW + place * MINUTE for place in places]
    assert [gap.span.start for gap in strategy.gaps] == lost
    assert {gap.series.text for gap in strategy.gaps} == {B}
    assert [ts for name, ts in strategy.seen if name == A] == list(range(START, END, MINUTE))
    seen = [ts for name, ts in strategy.seen if name == B]
    assert seen == [ts for ts in range(START, END, MINUTE) if ts not in lost]
    assert {one.span.start for one in result.unclean} >= set(lost)


def test_a_vendor_has_what_the_feed_does_not_bring(tmp_path: Path) -> None:
    vendor = Vendor()
    strategy = Majors()
    in_a_world(tmp_path, "false", strategy, vendor, without=frozenset({3, 4}))
    assert strategy.gaps == []
    assert [ts for name, ts in strategy.seen if name == B] == list(range(START, END, MINUTE))
    assert {span.start for name, span in vendor.asked if name == B} == {
        NOW + 3 * MINUTE, NOW + 4 * MINUTE,
    }  # fmt: skip


def test_a_feed_that_fails_ends_the_run(tmp_path: Path) -> None:
    lines = [*script(A).script[:3], RuntimeError("the exchange has closed the account")]
    strategy = Single()
    feed = ScriptedFeed(lines)
    with (
        followed(tmp_path / "store", feed, FakeClock(NOW)) as history,
        pytest.raises(SourceUnavailableError, match="closed the account"),
    ):
        submit(history, strategy)
    assert feed.open_calls == 0
    assert strategy.seen[-1] == (A, NOW + 2 * MINUTE)


def test_a_start_that_lies_ahead_is_refused(tmp_path: Path) -> None:
    with (
        followed(tmp_path / "store", script(A), FakeClock(NOW)) as history,
        pytest.raises(InvalidRequestError, match="up to which all series have closed"),
    ):
        submit(history, Single, start=NOW + MINUTE)


class Killed(BaseException):
    """As a signal would end it."""


class Mortal(Single):
    dies_at: int | None = None

    def on_bar(self, bar: Bar, portfolio: Portfolio) -> None:
        if bar.ts == type(self).dies_at:
            raise Killed
        super().on_bar(bar, portfolio)


@pytest.mark.parametrize("minute", [-17, 0, 7, 11])
@pytest.mark.parametrize("every_s", [0.0, 1e9])
def test_a_run_that_was_killed_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, minute: int, every_s: float
) -> None:
    monkeypatch.setattr(run_keeper, "EVERY_S", every_s)
    monkeypatch.setattr(run_keeper, "ROWS_BETWEEN", 7)
    monkeypatch.setattr(Mortal, "dies_at", NOW + minute * MINUTE)
    state, vendor = tmp_path / "run.state", Vendor()
    clock = FakeClock(NOW)
    with followed(tmp_path / "store", script(A), clock, vendor) as history, pytest.raises(Killed):
        submit(history, Mortal, resume=state)
    monkeypatch.setattr(Mortal, "dies_at", None)
    strategy = Mortal()
    # Hours later: all has closed meanwhile, and no feed brings it.
    later = FakeClock(END + 180 * MINUTE)
    with followed(tmp_path / "store", ScriptedFeed([], ends=True), later, vendor) as history:
        result = submit(history, strategy, resume=state)
        assert Runner.verify(result.proof, Mortal, history_provider=history).proof == result.proof
    whole = backtest(tmp_path / "other", Mortal)
    assert [ts for _, ts in strategy.seen] == list(range(START, END, MINUTE))
    assert json.dumps(result.proof.outcome) == json.dumps(whole.proof.outcome)


CROSS = """
import polars as pl
import qmtl

class Cross(qmtl.Strategy):
    price = qmtl.StreamInput("ohlcv:mine:A:1m", window=20)
    mean = qmtl.node(price, pl.col("close").mean())
    target = pl.when(pl.col("mean") > 100).then(0.5).otherwise(0.25)
"""


def test_the_command_plays_the_bars_of_another_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("cross.py").write_text(CROSS)
    import_frame("paper", ALL[A].filter(TS < NOW), A)
    import_frame("bars", ALL[A], A)
    words = ["submit", "cross.py", "--mode", "paper", "--feed", "bars", "--speed", "600"]
    words += ["--start", "2024-03-02", "--proof", "proof.json"]
    found = CliRunner().invoke(app, ["--store", "paper", *words])
    assert found.exit_code == 0, found.output
    assert "12, from 2024-03-02T00:01:00Z to 2024-03-02T00:12:00Z" in found.output
    found = CliRunner().invoke(app, ["--store", "paper", "replay", "verify", "proof.json"])
    assert found.exit_code == 0, found.output
    found = CliRunner().invoke(app, ["--store", "bars", *words])
    assert found.exit_code == 2
    assert "--feed bars is the store of the run itself" in found.output
    with SeamlessDataProvider("paper", vendors={}) as history:
        deliveries = history.store.deliveries(SeriesId.parse(A), Span(NOW, END))
        assert deliveries.height == 12
