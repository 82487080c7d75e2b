"""Screening: what may enter the store, what goes to quarantine, and that no row is lost on the way."""

from __future__ import annotations

import math

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.frames import BAR_SCHEMA, TS, VALUES, empty_bars, stamps
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import Timeframe
from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.foundation.times import MINUTE, SECOND
from qmtl.runtime.conformance.rules import RULE_IDS, RULES
from qmtl.runtime.conformance.screen import QUARANTINE_SCHEMA, Screened, screen
from qmtl.runtime.testing.bars import synthetic_bars

GRID = Grid(Timeframe.parse("1m"))
NAN, INFINITY = math.nan, math.inf


def minutes(count: int) -> pl.DataFrame:
    return synthetic_bars("ohlcv:test:A/B:1m", Span(0, count * MINUTE))


def at(frame: pl.DataFrame, row: int, **values: float | None) -> pl.DataFrame:
    """The frame with other values in one row."""
    here = pl.int_range(pl.len()) == row
    return frame.with_columns(
        pl.when(here).then(pl.lit(value, dtype=pl.Float64)).otherwise(name).alias(name)
        for name, value in values.items()
    )


def moved(frame: pl.DataFrame, nanoseconds: int) -> pl.DataFrame:
    shift = pl.lit(nanoseconds, dtype=pl.Duration("ns"))
    return frame.with_columns(pl.col("ts") + shift)


def screened(frame: pl.DataFrame, *, now: int | None = None, **facts: bool) -> Screened:
    return screen(frame, grid=GRID, facts=SeriesFacts(**facts), within=Span(0, 10_000 * MINUTE), now=now)


IMPOSSIBLE = [
    pytest.param({"open": None}, "schema.missing_price", id="null open"),
    pytest.param({"close": None}, "schema.missing_price", id="null close"),
    pytest.param({"volume": None}, "schema.missing_volume", id="null volume"),
    pytest.param({"volume": NAN}, "schema.missing_volume", id="NaN volume"),
    pytest.param({"volume": INFINITY}, "schema.missing_volume", id="infinite volume"),
    pytest.param({"open": NAN}, "quality.non_finite_price", id="NaN open"),
    pytest.param({"high": NAN}, "quality.non_finite_price", id="NaN high"),
    pytest.param({"low": NAN}, "quality.non_finite_price", id="NaN low"),
    pytest.param({"close": NAN}, "quality.non_finite_price", id="NaN close"),
    pytest.param({"high": INFINITY}, "quality.non_finite_price", id="infinite high"),
    pytest.param({"low": -INFINITY}, "quality.non_finite_price", id="low minus infinity"),
    pytest.param({"low": 0.0}, "quality.nonpositive_price", id="zero low"),
    pytest.param(
        dict.fromkeys(("open", "high", "low", "close"), -3.0),
        "quality.nonpositive_price",
        id="all below zero",
    ),
    pytest.param({"high": 1e-6}, "quality.high_below_low", id="high below low"),
    pytest.param({"open": 1e9}, "quality.high_not_highest", id="open above high"),
    pytest.param({"close": 1e9}, "quality.high_not_highest", id="close above high"),
    pytest.param({"open": 1e-6}, "quality.low_not_lowest", id="open below low"),
    pytest.param({"close": 1e-6}, "quality.low_not_lowest", id="close below low"),
    pytest.param({"volume": -1.0}, "quality.negative_volume", id="negative volume"),
]


@pytest.mark.parametrize(("values", "rule"), IMPOSSIBLE)
def test_an_impossible_row_goes_to_quarantine_and_its_neighbours_do_not(
    values: dict[str, float | None], rule: str
) -> None:
    page = minutes(50)
    result = screened(at(page, 20, **values))
    assert stamps(result.quarantine).tolist() == [20 * MINUTE]
    assert result.quarantine["rule"].to_list() == [rule]
    assert result.clean.equals(page.filter(pl.int_range(pl.len()) != 20))
    assert result.retracted == Coverage.of(Span(20 * MINUTE, 21 * MINUTE))
    (finding,) = result.findings
    assert (finding.rule, finding.severity, finding.count) == (rule, "error", 1)
    assert finding.fraction == pytest.approx(1 / 50)


def test_a_sound_page_passes_untouched() -> None:
    page = minutes(100)
    result = screened(page, now=100 * MINUTE)
    assert result.clean.equals(page)
    assert result.quarantine.schema == QUARANTINE_SCHEMA
    assert (result.findings, result.retracted, result.quarantine.height) == ((), EMPTY, 0)


def test_an_empty_page_passes() -> None:
    assert screened(empty_bars()).clean.equals(empty_bars())


def test_declared_facts_make_rows_possible() -> None:
    page = at(minutes(5), 2, open=-30.0, high=-20.0, low=-37.63, close=-25.0)
    assert screened(page).quarantine.height == 1
    assert screened(page, allow_nonpositive=True).clean.equals(page)
    page = minutes(5).with_columns(volume=pl.lit(None, dtype=pl.Float64))
    assert screened(page).quarantine.height == 5
    assert screened(page, has_volume=False).clean.equals(page)
    # Declared or not, a NaN is no volume.
    assert screened(at(page, 1, volume=NAN), has_volume=False).quarantine.height == 1


def test_a_bar_that_closes_after_now_is_forming() -> None:
    page = minutes(10)
    result = screened(page, now=10 * MINUTE - 1)
    assert stamps(result.quarantine).tolist() == [9 * MINUTE]
    assert result.quarantine["rule"].to_list() == ["temporal.forming_bar"]
    assert screened(page, now=10 * MINUTE).clean.equals(page)
    assert screened(page, now=None).clean.equals(page)


@pytest.mark.parametrize("has_its_bar", [True, False])
def test_a_row_off_the_grid_retracts_its_cell_unless_the_bar_is_there(has_its_bar: bool) -> None:
    bars = minutes(10) if has_its_bar else pl.concat([minutes(10)[:4], minutes(10)[5:]])
    result = screened(pl.concat([bars, moved(minutes(10)[4:5], 7 * SECOND)]))
    assert result.quarantine["rule"].to_list() == ["temporal.off_grid"]
    assert result.retracted == (EMPTY if has_its_bar else Coverage.of(Span(4 * MINUTE, 5 * MINUTE)))
    assert result.clean.height == bars.height


@pytest.mark.parametrize("seconds", [1, 20, 30])
def test_rows_of_a_shorter_timeframe_are_refused_whole(seconds: int) -> None:
    page = minutes(30).with_columns(ts=(pl.int_range(30) * seconds * SECOND).cast(TS))
    with pytest.raises(InvalidRequestError, match="a shorter timeframe than 1m") as refused:
        screened(page)
    assert f"by {seconds} seconds" in str(refused.value)


def test_a_whole_page_off_the_grid() -> None:
    result = screened(moved(minutes(10), SECOND))
    assert result.clean.height == 0
    assert result.quarantine["rule"].to_list() == ["temporal.off_grid"] * 10


def test_duplicates_are_kept_once_and_reported() -> None:
    page = minutes(30)
    result = screened(pl.concat([page[10:], page[:15], page[3:4]]))
    assert result.clean.equals(page)
    (finding,) = result.findings
    assert (finding.rule, finding.severity, finding.count) == ("temporal.duplicate", "info", 6)


def test_rows_that_contradict_each_other_are_all_refused() -> None:
    page = minutes(30)
    other = at(page, 7, volume=1.25)[7:8]
    result = screened(pl.concat([page, other, page[7:8]]))
    assert result.quarantine["rule"].to_list() == ["temporal.conflicting_rows"] * 2
    assert stamps(result.quarantine).tolist() == [7 * MINUTE] * 2
    assert result.clean.equals(page.filter(pl.int_range(pl.len()) != 7))


def test_a_row_with_several_faults_is_named_by_the_first_of_the_catalogue() -> None:
    page = at(minutes(5), 1, open=None, high=-1.0, volume=-1.0)
    assert screened(page).quarantine["rule"].to_list() == ["schema.missing_price"]


NOTHING = [
    pytest.param(dict.fromkeys(VALUES), id="null"),
    pytest.param(dict.fromkeys(VALUES, NAN), id="NaN"),
    pytest.param({**dict.fromkeys(VALUES), "volume": 0.0}, id="no price, volume 0"),
    pytest.param({**dict.fromkeys(VALUES, NAN), "open": None, "volume": 0.0}, id="null and NaN"),
]


@pytest.mark.parametrize("nothing", NOTHING)
def test_a_row_without_any_price_says_that_nothing_was_traded(nothing: dict[str, float | None]) -> None:
    page = minutes(10)
    result = screened(at(at(page, 3, **nothing), 7, **nothing), now=100 * MINUTE)
    assert result.clean.equals(page.filter(~pl.int_range(pl.len()).is_in([3, 7])))
    assert result.quarantine.is_empty()
    assert result.retracted == EMPTY
    assert result.no_trade == Coverage([(3 * MINUTE, 4 * MINUTE), (7 * MINUTE, 8 * MINUTE)])
    (finding,) = result.findings
    assert (finding.rule, finding.severity, finding.count) == ("temporal.empty_row", "info", 2)
    assert (finding.first_ts, finding.last_ts, finding.fraction) == (3 * MINUTE, 7 * MINUTE, 0.2)


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        ({**dict.fromkeys(VALUES), "volume": 3.0}, "schema.missing_price"),
        ({**dict.fromkeys(VALUES, NAN), "volume": 3.0}, "quality.non_finite_price"),
        ({**dict.fromkeys(VALUES), "volume": -1.0}, "schema.missing_price"),
        ({**dict.fromkeys(VALUES), "close": 1.0}, "schema.missing_price"),
        ({**dict.fromkeys(VALUES, NAN), "close": 1.0, "volume": 0.0}, "quality.non_finite_price"),
        ({**dict.fromkeys(VALUES, INFINITY), "volume": 0.0}, "quality.non_finite_price"),
    ],
)
def test_some_values_and_not_others_are_impossible(values: dict[str, float | None], rule: str) -> None:
    result = screened(at(minutes(5), 2, **values))
    assert result.quarantine["rule"].to_list() == [rule]
    assert result.retracted == Coverage.of(Span(2 * MINUTE, 3 * MINUTE))
    assert result.no_trade == EMPTY


@pytest.mark.parametrize("nothing", NOTHING)
def test_where_a_row_without_any_price_says_nothing(nothing: dict[str, float | None]) -> None:
    page = minutes(5)
    empty = at(page, 2, **nothing)[2:3]
    contradicted = screened(pl.concat([page, empty]))
    assert contradicted.quarantine["rule"].to_list() == ["temporal.conflicting_rows"] * 2
    off_grid = screened(pl.concat([page, moved(empty, 30 * SECOND)]))
    assert off_grid.quarantine["rule"].to_list() == ["temporal.off_grid"]
    assert off_grid.no_trade == EMPTY
    forming = screened(pl.concat([page, moved(empty, 3 * MINUTE)]), now=5 * MINUTE + 1)
    assert forming.quarantine["rule"].to_list() == ["temporal.forming_bar"]
    assert forming.no_trade == EMPTY


def test_two_ways_to_write_nothing_are_one() -> None:
    page = minutes(5)
    both = [at(page, 2, **dict.fromkeys(VALUES))[2:3], at(page, 2, **dict.fromkeys(VALUES, NAN))[2:3]]
    result = screened(pl.concat([page[:2], *both, page[3:]]))
    assert result.no_trade == Coverage.of(Span(2 * MINUTE, 3 * MINUTE))
    assert [f.rule for f in result.findings] == ["temporal.duplicate", "temporal.empty_row"]


def test_rows_outside_the_answered_range_are_refused() -> None:
    with pytest.raises(InvalidRequestError, match="2 of 10 rows lie outside"):
        screen(minutes(10), grid=GRID, facts=SeriesFacts(), within=Span(MINUTE, 9 * MINUTE), now=None)


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (minutes(3).drop("low", "volume"), "columns are missing: low, volume"),
        (minutes(3).with_columns(pl.col("open").cast(pl.Int64)), "open is Int64"),
        (minutes(3).with_columns(pl.col("close").cast(pl.String)), "close is String"),
        (minutes(3).with_columns(pl.col("ts").dt.replace_time_zone(None)), "not a UTC datetime"),
        (minutes(3).with_columns(pl.col("ts").dt.convert_time_zone("Europe/Paris")), "not a UTC datetime"),
        (minutes(3).with_columns(pl.col("ts").to_physical()), "ts is Int64"),
        (minutes(3).with_columns(ts=pl.lit(None).cast(BAR_SCHEMA["ts"])), "3 rows without a ts"),
    ],
)
def test_a_frame_of_another_shape_is_refused(frame: pl.DataFrame, words: str) -> None:
    with pytest.raises(InvalidRequestError, match=words):
        screened(frame)


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_any_time_unit_becomes_nanoseconds(unit: str) -> None:
    page = minutes(20)
    assert screened(page.with_columns(pl.col("ts").cast(pl.Datetime(unit, "UTC")))).clean.equals(page)  # type: ignore[arg-type]  # a literal


def test_times_that_nanoseconds_cannot_tell_are_refused() -> None:
    far = pl.lit(10**15, dtype=pl.Int64).cast(pl.Datetime("ms", "UTC"))
    with pytest.raises(InvalidRequestError, match="2262-04-11"):
        screened(minutes(1).with_columns(ts=far))


def test_columns_to_keep_go_along_into_quarantine_only() -> None:
    page = at(minutes(6), 3, high=0.5).with_row_index("line", offset=2)
    result = screen(
        page, grid=GRID, facts=SeriesFacts(), within=Span(0, 10 * MINUTE), now=None, keep=("line",)
    )
    assert result.clean.schema == BAR_SCHEMA
    assert result.quarantine["line"].to_list() == [5]
    assert result.findings[0].sample["line"].to_list() == [5]


values = st.sampled_from([1.0, 2.0, 3.0, 0.0, -1.0, NAN, INFINITY, None])
rows = st.tuples(st.sampled_from([0, MINUTE, 2 * MINUTE, 3 * MINUTE, 90 * SECOND]), *[values] * 5)


def is_possible(row: tuple[int, ...], now: int) -> bool:
    """The same verdict in plain Python, one row at a time."""
    ts, *numbers = row
    if ts % MINUTE or ts + MINUTE > now or None in numbers:
        return False
    open_, high, low, close, volume = numbers
    return (
        all(map(math.isfinite, numbers))
        and 0 < low <= min(open_, close)
        and high >= max(open_, close, low)
        and volume >= 0
    )


def is_empty(row: tuple[int, ...]) -> bool:
    """Whether it has no price, and no volume."""
    *prices, volume = row[1:]
    return all(p is None or math.isnan(p) for p in prices) and (not volume or math.isnan(volume))


def shown(row: tuple[int, ...]) -> str:
    """A row of which NaN equals NaN; of the ways to write nothing, any."""
    return str(row[:1] if is_empty(row) else row)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(st.lists(rows, max_size=12))
def test_no_row_is_lost_and_each_is_judged_as_by_hand(page: list[tuple[int, ...]]) -> None:
    frame = pl.DataFrame(page, schema={"ts": pl.Int64, **dict.fromkeys(VALUES, pl.Float64)}, orient="row")
    frame = frame.cast({"ts": BAR_SCHEMA["ts"]})
    now = 3 * MINUTE
    result = screened(frame, now=now)
    alike = {str(row[:1] if is_empty(row) else row): row for row in page}
    once = {ts for ts in {row[0] for row in page} if sum(row[0] == ts for row in alike.values()) == 1}
    silent = {row[0] for row in page if is_empty(row)} & once
    silent = {ts for ts in silent if ts % MINUTE == 0 and ts + MINUTE <= now}
    kept = pl.concat([result.clean, result.quarantine.drop("rule")]).with_columns(pl.col("ts").to_physical())
    others = [row for row in alike.values() if row[0] not in silent]
    assert sorted(map(shown, kept.rows())) == sorted(map(shown, others))
    expected = {row for row in page if row[0] in once and is_possible(row, now)}
    assert set(result.clean.with_columns(pl.col("ts").to_physical()).rows()) == expected
    assert result.no_trade == Coverage((t, t + MINUTE) for t in silent)
    ts = stamps(result.clean).tolist()
    assert ts == sorted(set(ts))
    assert {f.rule for f in result.findings if f.severity == "error"} == set(result.quarantine["rule"])
    assert result.retracted == Coverage(
        (t // MINUTE * MINUTE, t // MINUTE * MINUTE + MINUTE) for t in stamps(result.quarantine).tolist()
    )


def test_the_catalogue_has_errors_first_and_names_stages() -> None:
    order = {"error": 0, "warning": 1, "info": 2}
    ranks = [order[RULES[rule].severity] for rule in RULE_IDS]
    assert ranks == sorted(ranks)
    assert all(rule.id.startswith(f"{rule.stage}.") for rule in RULES.values())
