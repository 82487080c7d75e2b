"""Coverage, freshness, conformance and schema of an input, judged together, each with its reason."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.foundation.states import BarStates, bar_states
from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.foundation.times import DAY, MINUTE, to_ns
from qmtl.runtime.worlds.readiness import SUBJECTS, Check, Known, readiness
from qmtl.runtime.worlds.window import Window
from qmtl.runtime.worlds.world import LivePolicy, WorldPreset

BTC, ETH = (SeriesId.parse(f"ohlcv:binance:{base}/USDT:1m") for base in ("BTC", "ETH"))
START = to_ns("2024-01-02")
HOUR = Span(START, START + 60 * MINUTE)

PRESET = WorldPreset(
    id="majors",
    preset="ohlcv.binance.spot.1m",
    origin="qmtl",
    series=(BTC, ETH),
    pattern="ohlcv:binance:*:1m",
    vendor=None,
    facts=SeriesFacts(),
    subject=None,
    window=Window(min_history=3600.0),
    sla_preset="baseline",
    conformance_preset="strict-blocking",
    backfill_mode="foreground",
    publish_fingerprint=False,
    live=LivePolicy(120.0, allow_partial=False),
)


def states(rows: int, answered: int = 0, absent: int = 0) -> BarStates:
    """An hour whose first bars are there, answered, or absent."""
    grid = Grid(BTC.timeframe)

    def first(bars: int) -> Coverage:
        return Coverage.of(Span(START, START + bars * MINUTE)) if bars else EMPTY

    gone = first(max(rows, answered) + absent) - first(max(rows, answered))
    return bar_states(HOUR, grid, grid.stamps(first(rows)), first(max(rows, answered)), gone)


def known(series: SeriesId = BTC, bars: BarStates | None = None, **facts: Any) -> Known:
    whole = Known(
        series.text, bars or states(60), {"findings": []}, "ohlcv:1", "canary", None, "ccxt:binance"
    )
    return whole._replace(**facts)


def check(subject: str, *some: Known, **changes: Any) -> Check:
    preset = replace(PRESET, **changes)
    found = {one.subject: one for one in readiness(preset, some)}
    assert tuple(found) == SUBJECTS
    return found[subject]


def test_all_is_well() -> None:
    found = readiness(PRESET, [known(), known(ETH, states(50, 60))])
    assert [(one.subject, one.outcome) for one in found] == [(subject, "ok") for subject in SUBJECTS]
    assert found[0].why == "ccxt:binance"
    assert found[1].why == "110 bars, 10 without a trade: all that is expected"
    assert found[4].why == "ohlcv:1, canary"


@pytest.mark.parametrize(("sla", "outcome"), [("baseline", "fail"), ("permissive", "warn")])
def test_what_is_missing_is_counted_and_weighs_as_the_sla_preset_says(sla: str, outcome: str) -> None:
    found = check("coverage", known(), known(ETH, states(50, absent=4)), sla_preset=sla)
    assert found.outcome == outcome
    assert found.why == (
        f"{ETH}: 6 bars nobody has answered for; 'qmtl world apply' asks for them; "
        "4 bars that the source says it has not"
    )


@pytest.mark.parametrize(
    ("lag", "live", "outcome", "says"),
    [
        (2, LivePolicy(120.0, False), "ok", "trails by 120 s, and 120 s are allowed"),
        (
            3,
            LivePolicy(120.0, False),
            "fail",
            "and 120 s are allowed: 1 of 2 series are behind",
        ),
        (3, LivePolicy(120.0, True), "warn", "1 of 2 series are behind"),
        (3, LivePolicy(None, False), "ok", "trails by 180 s"),
    ],
)
def test_how_far_the_newest_bar_may_trail(lag: int, live: LivePolicy, outcome: str, says: str) -> None:
    found = check("freshness", known(), known(ETH, states(60 - lag)), live=live)
    assert (found.outcome, found.why.startswith(f"{ETH}")) == (outcome, True)
    assert says in found.why


def test_where_all_are_behind_nobody_goes_on() -> None:
    found = check("freshness", known(bars=states(3)), live=LivePolicy(120.0, True))
    assert found.outcome == "fail"
    assert check("freshness", known(bars=states(0))).why.startswith(f"{BTC} trails by 3,600 s")


SPIKE = {"rule": "quality.price_spike", "severity": "warning", "count": 2, "accepted": 1}


@pytest.mark.parametrize(
    ("name", "outcome"), [("strict-blocking", "fail"), ("warn-only", "warn"), ("observe", "warn")]
)
def test_findings_that_raise_weigh_as_the_conformance_preset_says(name: str, outcome: str) -> None:
    flawed = known(report={"findings": [SPIKE]})
    found = check("conformance", flawed, known(ETH), conformance_preset=name)
    assert found.outcome == outcome
    assert found.why == f"{BTC}: quality.price_spike in the newest report, not accepted ({name})"


@pytest.mark.parametrize("harmless", [{**SPIKE, "accepted": 2}, {**SPIKE, "severity": "info", "accepted": 0}])
def test_what_is_accepted_or_worth_knowing_alone_is_no_hindrance(harmless: dict[str, Any]) -> None:
    assert check("conformance", known(report={"findings": [harmless]})).outcome == "ok"


def test_without_a_bound_it_is_said_that_there_is_none() -> None:
    free = LivePolicy(None, allow_partial=False)
    found = check("freshness", known(), known(ETH, states(50)), live=free)
    assert (found.outcome, found.why) == ("ok", f"{ETH} trails by 600 s, and no live.max_lag is set")
    long_ago = bar_states(Span(START, START + 9 * DAY), Grid(BTC.timeframe), [], EMPTY, EMPTY)  # type: ignore[arg-type]
    assert "trails by 9 days" in check("freshness", known(bars=long_ago), live=free).why


def test_where_no_report_is_archived_that_is_said() -> None:
    assert check("conformance", known(report=None)).why.startswith("nobody has judged these bars yet")
    mixed = check("conformance", known(report=None), known(ETH))
    assert (mixed.outcome, "1 series without a report" in mixed.why) == ("warn", True)


def test_a_schema_that_cannot_be_checked_and_a_series_that_nobody_serves() -> None:
    schema = check("schema", known(unchecked="nothing is registered"))
    assert (schema.outcome, schema.why) == ("warn", f"{BTC}: nothing is registered")
    vendor = check("vendor", known(), known(ETH, vendor=None, unserved="no vendor is configured"))
    assert (vendor.outcome, vendor.why) == ("fail", f"nobody serves {ETH}: no vendor is configured")


def test_of_many_series_a_reason_names_three() -> None:
    many = [known(SeriesId.parse(f"ohlcv:a:S{n}:1m"), states(0)) for n in range(10)]
    assert ":S2:1m and 7 more: 600 bars" in check("coverage", *many).why
