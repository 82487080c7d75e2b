"""A file becomes part of a real store, whole or not at all; what it does not say stays unknown."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from qmtl.foundation.errors import ConformancePipelineError, InvalidRequestError
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.frames import stamps
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import DAY, MINUTE, to_ns
from qmtl.runtime.io.sql.upkeep import KeptStore
from qmtl.runtime.sdk.import_commit import ImportResult
from qmtl.runtime.sdk.importing import import_file, import_frame
from qmtl.runtime.sdk.profile_table import profile_table
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.sdk.series_declarations import SeriesDeclarations
from qmtl.runtime.testing.clock import FakeClock

BOTH_ENGINES = True

SERIES = SeriesId.parse("ohlcv:mine:BTC/USDT:1m")
START = to_ns("2024-01-01")
NOW = "2024-02-01T00:00:00Z"
HEADER = "ts,open,high,low,close,volume"


def row(minute: float, values: str = "2,3,1,2,10") -> str:
    seconds = round(minute * 60)
    return f"2024-01-01T{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}Z,{values}"


def minutes(first: int, end: int) -> Span:
    return Span(START + first * MINUTE, START + end * MINUTE)


HOUR = minutes(0, 60)


@pytest.fixture
def store(open_store: Callable[..., KeptStore]) -> KeptStore:
    return open_store(clock=FakeClock(NOW))


@pytest.fixture
def load(store: KeptStore, tmp_path: Path) -> Callable[..., ImportResult]:
    """Import rows of CSV; the clock stands at the first of February 2024."""

    def write_and_import(*rows: str, series: SeriesId | str = SERIES, **options: object) -> ImportResult:
        path = tmp_path / "bars.csv"
        path.write_text("\n".join([HEADER, *rows]) + "\n")
        return import_file(store, path, series, clock=FakeClock(NOW), **options)

    return write_and_import


def stored(store: KeptStore) -> list[int]:
    """The minutes that have a row."""
    frame = store.read(SERIES, HOUR).frame
    return [(ts - START) // MINUTE for ts in stamps(frame).tolist()]


def answered(store: KeptStore) -> Coverage:
    return store.read(SERIES, HOUR).answered.clip(HOUR)


def assert_untouched(store: KeptStore) -> None:
    assert store.newest().tx == 0
    assert store.facts(SERIES) is None
    assert store.newest_report(SERIES) is None
    assert store.quarantined(SERIES, HOUR).is_empty()


class TestWholeFile:
    def test_rows_are_stored_sorted_and_reported(self, store, load):
        result = load(row(2), row(0, "2,3.5,1,2,7"), row(1))
        assert stored(store) == [0, 1, 2]
        assert store.read(SERIES, minutes(0, 1)).frame.row(0)[1:] == (2.0, 3.5, 1.0, 2.0, 7.0)
        assert (result.rows, result.added, result.unchanged, result.replaced) == (3, 3, 0, 0)
        assert result.span == minutes(0, 3)
        assert result.counts == {"present": 3, "no_trade": 0, "closed": 0, "absent": 0, "unknown": 0}
        assert result.findings == ()
        assert {answer.source for answer in store.read(SERIES, minutes(0, 3)).answers} == {"file:bars.csv"}

    def test_the_same_file_again_changes_nothing(self, store, load):
        first = load(row(0), row(1))
        again = load(row(0), row(1))
        assert (again.added, again.unchanged, again.replaced) == (0, 2, 0)
        assert len(store.reports(SERIES)) == 1, "a report is archived only if data changed"
        assert again.as_of >= first.as_of

    def test_other_values_win_and_the_older_stay_readable(self, store, load):
        first = load(row(0), row(1))
        second = load(row(1, "2,9,1,2,10"))
        assert second.replaced == 1
        assert [finding.rule for finding in second.findings] == ["quality.replaced"]
        assert store.read(SERIES, minutes(1, 2)).frame["high"].item() == 9
        assert store.read(SERIES, minutes(1, 2), as_of=first.as_of).frame["high"].item() == 3

    def test_report_is_archived_with_the_commit(self, store, load):
        result = load(row(0))
        archived = store.newest_report(SERIES)
        assert archived == json.loads(json.dumps(result.report.to_json()))
        assert result.report.as_of == result.as_of

    def test_json(self, load):
        result = load(row(0), row(2), row(2))
        reported = json.loads(json.dumps(result.to_json()))
        assert reported["series"] == SERIES.text
        assert reported["rows"] == 3
        assert reported["range"] == {"start": "2024-01-01", "end": "2024-01-01T00:03:00Z"}
        assert reported["coverage"] == {"present": 2, "no_trade": 0, "closed": 0, "absent": 0, "unknown": 1}
        assert [finding["rule"] for finding in reported["findings"]] == ["temporal.duplicate"]
        assert reported["notes"] == []

    def test_a_file_that_cannot_be_read_leaves_nothing(self, store, load):
        with pytest.raises(InvalidRequestError, match=r"bars.csv, line 3, column 'close'"):
            load(row(0), row(1, "2,3,1,two,10"), calendar="XNYS")
        assert_untouched(store)


class TestImpossibleRows:
    BAD = (row(0), row(1, "2,1,3,2,10"), row(2), row(2, "2,3,1,2.5,10"), row(3), row(4, "2,3,1,,10"))

    def test_refused_with_line_numbers(self, store, load):
        with pytest.raises(ConformancePipelineError) as caught:
            load(*self.BAD, calendar="24x7")
        assert_untouched(store)
        error = caught.value
        lines = {finding.rule: finding.sample["line"].to_list() for finding in error.report.findings}
        assert lines == {
            "schema.missing_price": [7],
            "temporal.conflicting_rows": [4, 5],
            "quality.high_below_low": [3],
        }
        assert "temporal.conflicting_rows at line 4, 5" in str(error)
        assert "4 of 6 rows are impossible" in str(error)
        assert "`partial_ok=True`" in error.next_step
        assert error.report.as_of is None
        assert error.report.errors == 4

    def test_kept_aside_when_asked(self, store, load):
        result = load(*self.BAD, partial_ok=True, holes="no_trade")
        assert stored(store) == [0, 3]
        assert result.quarantined == 4
        assert result.counts == {"present": 2, "no_trade": 0, "closed": 0, "absent": 0, "unknown": 3}
        kept = store.quarantined(SERIES, HOUR)
        assert kept["rule"].to_list() == [
            "quality.high_below_low",
            "temporal.conflicting_rows",
            "temporal.conflicting_rows",
            "schema.missing_price",
        ]
        assert set(kept["source"]) == {"file:bars.csv"}
        assert result.report.errors == 4

    @pytest.mark.parametrize(
        ("values", "rule"),
        [
            ("NaN,3,1,2,10", "quality.non_finite_price"),
            ("2,inf,1,2,10", "quality.non_finite_price"),
            ("-2,3,-3,2,10", "quality.nonpositive_price"),
            ("2,3,0,2,10", "quality.nonpositive_price"),
            ("2,3,1,2,-1", "quality.negative_volume"),
            ("2,3,1,2,", "schema.missing_volume"),
        ],
    )
    def test_each_kind(self, load, values, rule):
        with pytest.raises(ConformancePipelineError) as caught:
            load(row(0), row(1, values))
        assert [finding.rule for finding in caught.value.report.findings] == [rule]

    def test_prices_below_zero_where_they_are_declared(self, store, load):
        store.declare(SERIES, SeriesFacts(allow_nonpositive=True))
        assert load(row(0, "-2,3,-37.63,2,10")).added == 1

    def test_stamps_off_the_grid(self, load):
        with pytest.raises(ConformancePipelineError) as caught:
            load(row(0), row(1.5))
        (finding,) = caught.value.report.findings
        assert (finding.rule, finding.sample["line"].to_list()) == ("temporal.off_grid", [3])

    def test_a_bar_that_has_not_closed(self, load):
        with pytest.raises(ConformancePipelineError) as caught:
            load("2024-01-31T23:59:00Z,1,1,1,1,1", "2024-02-01T00:00:00Z,1,1,1,1,1")
        (finding,) = caught.value.report.findings
        assert (finding.rule, finding.sample["line"].to_list()) == ("temporal.forming_bar", [3])


class TestWarnings:
    def test_do_not_stop(self, store, load):
        rows = [row(minute, f"2,2.01,1.99,2,{minute}") for minute in range(200)]
        rows[100] = row(100, "2,2.01,0.01,2,100")
        result = load(*rows)
        assert result.added == 200
        (finding,) = result.findings
        assert (finding.rule, finding.first_ts) == ("quality.price_spike", START + 100 * MINUTE)
        assert store.newest_report(SERIES)["warnings"] == 1


class TestHoles:
    def test_silence_proves_nothing(self, store, load):
        result = load(row(0), row(5))
        assert answered(store) == Coverage.of(minutes(0, 1), minutes(5, 6))
        assert result.counts["unknown"] == 4

    def test_no_trade_between_the_first_and_the_last_bar(self, store, load):
        result = load(row(1), row(5), holes="no_trade")
        assert answered(store) == Coverage.of(minutes(1, 6))
        assert result.counts == {"present": 2, "no_trade": 3, "closed": 0, "absent": 0, "unknown": 0}

    def test_answered_range(self, store, load):
        result = load(row(1), row(9), answered=minutes(0, 5))
        assert answered(store) == Coverage.of(minutes(0, 5), minutes(9, 10))
        assert result.span == minutes(0, 10)
        assert result.counts == {"present": 2, "no_trade": 4, "closed": 0, "absent": 0, "unknown": 4}

    def test_a_pair_of_times_is_a_range(self, store, load):
        load(row(1), answered=("2024-01-01", "2024-01-01T00:05Z"))
        assert answered(store) == Coverage.of(minutes(0, 5))

    def test_so_it_is_for_a_frame(self, store):
        frame = pl.DataFrame(
            {"ts": ["2024-01-01T00:01:00Z"], **{name: [1.0] for name in HEADER.split(",")[1:]}}
        )
        with SeamlessDataProvider(store=store, clock=FakeClock(NOW)) as provider:
            import_frame(provider, frame, SERIES, answered=["2024-01-01", START + 5 * MINUTE])
            assert provider.coverage(SERIES, START, START + 9 * MINUTE).no_trade.length == 4 * MINUTE

    @pytest.mark.parametrize(
        ("value", "fact"),
        [
            ("2024-01-01", "is no range"),
            (("2024-01-01",), "is no range"),
            (("2024-01-01", "2024-01-02", "2024-01-03"), "is no range"),
            (START, "is no range"),
            (("2024-01-02", "2024-01-01"), "after its end 2024-01-01"),
            (("2024-01-01", None), "None"),
            (("2024-01-01", "soon"), "soon"),
        ],
    )
    def test_what_is_no_range_is_refused_in_words(self, store, load, value, fact):
        with pytest.raises(InvalidRequestError, match="answered") as refused:
            load(row(1), answered=value)
        assert fact in str(refused.value)
        assert_untouched(store)

    def test_a_file_cannot_answer_for_the_future(self, store, load):
        with pytest.raises(InvalidRequestError, match="future"):
            load(row(0), answered=Span(START, to_ns(NOW) + MINUTE))
        assert_untouched(store)

    def test_two_answers_to_one_question(self, load):
        with pytest.raises(InvalidRequestError, match="two answers"):
            load(row(0), answered=minutes(0, 5), holes="no_trade")
        with pytest.raises(InvalidRequestError, match="neither"):
            load(row(0), holes="closed")

    def test_calendar_tells_closed_from_no_trade(self, load):
        fridays = "2024-01-05,2,3,1,2,10", "2024-01-09,2,3,1,2,10"
        result = load(*fridays, series="ohlcv:mine:AAPL:1d", calendar="XNYS", holes="no_trade")
        assert result.counts == {"present": 2, "no_trade": 1, "closed": 2, "absent": 0, "unknown": 0}


class TestDeclarations:
    def test_are_written(self, store, load):
        load(row(0, "2,3,1,2,"), calendar="FX", columns="volume=")
        assert store.facts(SERIES) == SeriesFacts(calendar="FX", has_volume=False)

    def test_no_volume_is_an_info(self, store, load):
        result = load(row(0), columns="volume=")
        assert store.read(SERIES, minutes(0, 1)).frame["volume"].to_list() == [None]
        assert [finding.rule for finding in result.findings] == ["quality.no_volume"]

    def test_nothing_is_declared_unasked(self, store, load):
        load(row(0))
        assert store.facts(SERIES) is None

    def test_what_was_declared_holds(self, store, load):
        store.declare(SERIES, SeriesFacts(calendar="XNYS", allow_nonpositive=True))
        result = load("2024-01-02T14:30:00Z,2,3,1,2,10", answered=Span(START, START + 2 * DAY))
        assert result.counts["present"] == 1
        assert result.counts["closed"] == 2880 - 390
        load(row(0), calendar="XNYS", columns="volume=")
        assert store.facts(SERIES) == SeriesFacts("XNYS", allow_nonpositive=True, has_volume=False)

    def test_a_different_declaration_shows_both(self, store, load):
        load(row(0), calendar="XNYS")
        before = store.newest().tx
        with pytest.raises(InvalidRequestError) as caught:
            load(row(1), calendar="XLON")
        assert "'XNYS'" in caught.value.why
        assert "'XLON'" in caught.value.why
        assert store.newest().tx == before

    def test_settings_and_python_are_heard(self, store, load):
        class Weekdays:
            def sessions(self, span: Span) -> Coverage:
                days = range(span.start // DAY, -(-span.end // DAY))
                return Coverage((d * DAY, (d + 1) * DAY) for d in days if (d + 3) % 7 < 5)

        declared = SeriesDeclarations(store, profile_table(calendars={"ohlcv:mine:*": Weekdays()}))
        end = START + 7 * DAY
        result = load(row(0), declared=declared, answered=Span(START, end))
        assert result.counts["closed"] == 2 * 1440
        with pytest.raises(InvalidRequestError):
            load(row(0), declared=declared, calendar="XNYS")

    def test_an_unknown_calendar_leaves_nothing(self, store, load):
        with pytest.raises(InvalidRequestError):
            load(row(0), calendar="XNYSE")
        assert_untouched(store)

    def test_closes_of_bars_that_are_anchored_to_sessions(self, store, load):
        store.declare(SERIES, SeriesFacts(calendar="XNYS", anchor="session"))
        with pytest.raises(InvalidRequestError, match="close"):
            load(row(0), label="close", series=SERIES)


def test_a_large_file_is_one_commit(store, tmp_path):
    n = 100_000
    ts = pl.int_range(START - n * MINUTE, START, MINUTE, eager=True).cast(pl.Datetime("ns", "UTC"))
    frame = pl.DataFrame({"ts": ts}).with_columns(
        *(pl.lit(1.5).alias(name) for name in ("open", "high", "low", "close")),
        (pl.int_range(pl.len()) % 97 + 1).cast(pl.Float64).alias("volume"),
    )
    frame.write_parquet(tmp_path / "bars.parquet")
    import_file(store, tmp_path / "bars.parquet", SERIES, clock=FakeClock(NOW))
    assert [one.kind for one in store.commits(SERIES)] == ["write"]
    assert store.read(SERIES, Span(START - n * MINUTE, START)).frame.equals(frame)


KAGGLE = """Timestamp,Open,High,Low,Close,Volume_(BTC)
1325412060.0,100.0,100.2,99.9,100.1,81.5
1325412120.0,NaN,NaN,NaN,NaN,NaN
1325412180.0,NaN,NaN,NaN,NaN,NaN
1325412300.0,100.1,100.3,100.0,100.2,4.5
"""


@pytest.mark.parametrize(("holes", "unknown"), [("unknown", 1), ("no_trade", 0)])
def test_rows_without_any_price_are_minutes_without_a_trade(
    store: KeptStore, tmp_path: Path, holes: Any, unknown: int
) -> None:
    """The file speaks of such a bar, whatever its silence proves elsewhere."""
    path = tmp_path / "bitstamp.csv"
    path.write_text(KAGGLE)
    columns = "ts=Timestamp,open=Open,high=High,low=Low,close=Close,volume=Volume_(BTC)"
    result = import_file(store, path, SERIES, unit="s", columns=columns, holes=holes, clock=FakeClock(NOW))
    counts = result.counts
    assert (counts["present"], counts["no_trade"], counts["unknown"]) == (2, 3 - unknown, unknown)
    assert result.quarantined == 0
    assert [(f.rule, f.severity, f.count) for f in result.findings] == [("temporal.empty_row", "info", 2)]
    again = import_file(store, path, SERIES, unit="s", columns=columns, holes=holes, clock=FakeClock(NOW))
    assert (again.added, again.counts) == (0, counts)


def test_an_impossible_row_for_a_stored_bar_takes_neither_its_row_nor_its_answer(
    load: Callable[..., ImportResult], store: KeptStore
) -> None:
    load(*(row(minute) for minute in range(4)))
    before = store.read(SERIES, HOUR)
    # Its high lies below its low; the bar of minute 5 is new, and impossible as well.
    result = load(row(1), row(2, "2,1,3,2,10"), row(3), row(5, "2,1,3,2,10"), partial_ok=True)
    assert (result.rows, result.unchanged, result.quarantined) == (4, 2, 2)
    after = store.read(SERIES, HOUR)
    assert after.frame.equals(before.frame)
    assert after.answered == Coverage.of(minutes(0, 4))
    assert store.quarantined(SERIES, HOUR).height == 2


def test_an_impossible_row_takes_the_answer_that_nothing_was_traded(
    load: Callable[..., ImportResult], store: KeptStore
) -> None:
    load(row(0), row(3), holes="no_trade")
    assert store.read(SERIES, HOUR).answered == Coverage.of(minutes(0, 4))
    load(row(0), row(2, "2,1,3,2,10"), partial_ok=True)
    assert store.read(SERIES, HOUR).answered == Coverage((minutes(0, 2), minutes(3, 4)))
