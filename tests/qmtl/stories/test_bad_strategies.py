"""A strategy that fails late, and a universe with a symbol that nobody has, are told as what they are."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import polars as pl
import pytest

import qmtl
from qmtl import (
    Bar,
    FillModel,
    Gap,
    InvalidRequestError,
    Portfolio,
    Runner,
    SeamlessDataProvider,
    Span,
    StrategyError,
    StreamInput,
)
from qmtl.foundation.times import HOUR, MINUTE, iso, to_ns
from qmtl.runtime.testing import synthetic_bars

A = "ohlcv:mine:A:1m"
START = to_ns("2024-03-01")
LATE = 100_000


class Late(qmtl.Strategy):
    price = StreamInput(A, window=10)
    mean = qmtl.node(price, pl.col("close").mean())

    def on_bar(self, bar: Bar, portfolio: Portfolio) -> None:
        if bar.ts == START + (LATE - 1) * MINUTE:
            raise ArithmeticError("no more")


def test_a_failure_at_bar_100_000_names_it_and_what_runs_it_alone(tmp_path: Path) -> None:
    bars = synthetic_bars(A, Span(START - 10 * MINUTE, START + (LATE + 50) * MINUTE))
    qmtl.import_frame(tmp_path / "bars", bars, A)
    with SeamlessDataProvider(tmp_path / "bars", vendors={}) as history:
        options = {"history_provider": history, "start": START, "end": START + (LATE + 50) * MINUTE}
        with pytest.raises(StrategyError, match=r"Late\.on_bar raised ArithmeticError: no more") as caught:
            Runner.submit(Late, **options)
        error = caught.value
        assert error.bar_ts == START + (LATE - 1) * MINUTE
        assert error.nodes == {"mean": bars["close"][LATE : LATE + 10].mean()}
        assert error.alone["start"] == iso(error.bar_ts)
        with pytest.raises(StrategyError) as again:
            Runner.submit(Late, history_provider=history, **error.alone)
        assert (again.value.bar_ts, again.value.nodes) == (error.bar_ts, error.nodes)


WORLD = """\
world:
  id: desk
  data:
    presets:
      - id: all
        preset: ohlcv.files
        timeframe: 1h
        universe: {{symbols: [LOST, HERE]}}
        window: {{min_history: 1d}}
        seamless: {{sla_preset: {sla}}}
"""


class Watch(qmtl.Strategy):
    price = StreamInput(preset="all", window=2)

    def __init__(self) -> None:
        self.bars: list[str] = []
        self.gaps: list[Gap] = []

    def on_bar(self, bar: Bar, portfolio: Portfolio) -> None:
        self.bars.append(bar.series.symbol)

    def on_gap(self, gap: Gap, portfolio: Portfolio) -> None:
        self.gaps.append(gap)


def test_a_symbol_that_the_venue_lacks_stops_a_run_unless_the_policy_lets_it_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    span = Span(START, START + 48 * HOUR)
    synthetic_bars("ohlcv:files:HERE:1h", Span(START - 24 * HOUR, span.end)).write_csv("data/HERE-1h.csv")
    Path("qmtl.yml").write_text("seamless: {store: bars}\n")
    Path("world.yml").write_text(WORLD.format(sla="baseline"))
    with pytest.raises(qmtl.QmtlError, match="LOST"):
        Runner.submit(Watch, world="world.yml", start=span.start, end=span.end)
    Path("world.yml").write_text(WORLD.format(sla="tolerant-partial"))
    watch = Watch()
    result = Runner.submit(watch, world="world.yml", start=span.start, end=span.end)
    assert watch.bars == ["HERE"] * 48
    assert [(gap.series.symbol, gap.span, gap.why) for gap in watch.gaps] == [("LOST", span, "unknown")]
    assert [(one.series, one.span) for one in result.unclean] == [("ohlcv:files:LOST:1h", span)]


def weighing(odd: float | None, kind: str) -> type[qmtl.Strategy]:
    price = StreamInput(A, window=2)
    at_hour = pl.col("ts").last().dt.minute() == 7
    weight = pl.when(at_hour).then(pl.lit(odd, dtype=pl.Float64)).otherwise(0.5)
    of: dict[str, object] = {"price": price, "weight": qmtl.node(price, weight)}

    def on_bar(self: qmtl.Strategy, bar: Bar, portfolio: Portfolio) -> None:
        getattr(portfolio, kind)(bar.series, self.weight)  # type: ignore[attr-defined]

    def on_gap(self: qmtl.Strategy, gap: Gap, portfolio: Portfolio) -> None:
        """To be listened to."""

    of |= {"target": pl.col("weight")} if kind.startswith("target=") else {"on_bar": on_bar}
    of |= {"on_gap": on_gap} if kind == "target= bar by bar" else {}
    return type("Weighing", (qmtl.Strategy,), of)


@pytest.fixture(scope="module")
def minutes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("weights") / "bars"
    qmtl.import_frame(store, synthetic_bars(A, Span(START - HOUR, START + 3 * HOUR)), A)
    return store


@pytest.mark.parametrize("kind", ["target", "rebalance", "order", "target=", "target= bar by bar"])
@pytest.mark.parametrize("odd", [None, float("nan"), float("inf"), -float("inf"), 1.5e308, -1.5e308])
@pytest.mark.parametrize("price", ["next_open", "close"])
def test_what_cannot_be_ordered_is_told_with_its_bar(
    minutes: Path, kind: str, odd: float | None, price: Literal["next_open", "close"]
) -> None:
    with SeamlessDataProvider(minutes, vendors={}) as history, pytest.raises(InvalidRequestError) as caught:
        Runner.submit(
            weighing(odd, kind),
            history_provider=history,
            start=START + HOUR,
            end=START + 2 * HOUR,
            fills=FillModel(price=price),
        )
    where = f"at the bar of {A} that opens at 2024-03-01T01:07:00Z, with weight {odd!r}"
    assert str(caught.value).count("at the bar of") == 1
    assert where in str(caught.value.why)
    assert caught.value.series == A
    assert caught.value.next_step


@pytest.mark.parametrize("units", [1e299, -1e299, 1e150, -1e150, 1e297])
@pytest.mark.parametrize("model", [FillModel(), FillModel(price="close", units="integer", cash=1e299)])
def test_equity_is_a_number_or_the_run_is_refused(minutes: Path, units: float, model: FillModel) -> None:
    class Wild(qmtl.Strategy):
        price = StreamInput(A)

        def on_bar(self, bar: Bar, portfolio: Portfolio) -> None:
            portfolio.order(bar.series, units)
            portfolio.target(bar.series, -units)

    with SeamlessDataProvider(minutes, vendors={}) as history:
        try:
            result = Runner.submit(Wild, history_provider=history, start=START, end=START + HOUR, fills=model)
        except InvalidRequestError as error:
            refused = str(error)
        else:
            refused = ""
            assert result.equity["equity"].is_finite().all()
            assert result.equity["cash"].is_finite().all()
            assert result.equity["drawdown"].is_finite().all()
    assert not refused or "more than can be counted" in refused


def test_prices_that_leave_all_numbers_end_a_run_by_name(tmp_path: Path) -> None:
    bars = synthetic_bars(A, Span(START - MINUTE, START + 10 * MINUTE))
    late = pl.int_range(pl.len()) >= 6
    wild = bars.with_columns(
        pl.when(late).then(1e308).otherwise(1e-5).alias(name) for name in ("open", "high", "low", "close")
    )
    qmtl.import_frame(tmp_path / "bars", wild, A)

    class Hold(qmtl.Strategy):
        price = StreamInput(A, allow_partial=True)  # also with findings

        def on_bar(self, bar: Bar, portfolio: Portfolio) -> None:
            portfolio.target(bar.series, 1.0)

    with (
        SeamlessDataProvider(tmp_path / "bars", vendors={}) as history,
        pytest.raises(InvalidRequestError, match="what is held at 2024-03-01T00:06:00Z is more than can be"),
    ):
        Runner.submit(Hold, history_provider=history, start=START, end=START + 10 * MINUTE)


def test_cash_beyond_all_sums_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="cash=1e\\+308 cannot be used"):
        FillModel(cash=1e308)
