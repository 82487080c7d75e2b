"""A strategy that fails late, and a universe with a symbol that nobody has, are told as what they are."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

import qmtl
from qmtl import Bar, Gap, Portfolio, Runner, SeamlessDataProvider, Span, StrategyError, StreamInput
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
