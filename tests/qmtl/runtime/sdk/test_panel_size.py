"""A panel is refused before it is read if it would be too large, and is cut into ranges that are not."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

import qmtl
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import Timeframe
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import HOUR, MINUTE, to_ns
from qmtl.runtime.sdk.panel_size import ROW_BYTES, blocks
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.testing.vendors import ScriptedVendor

BOTH_ENGINES = True

Make = Callable[..., SeamlessDataProvider]
NAMES = ["ohlcv:a:X/USDT:1m", "ohlcv:b:X/USDT:1h", "ohlcv:a:Y/USDT:1d"]
SPAN = Span(to_ns("2024-01-01"), to_ns("2024-01-04"))
BARS = 3 * (1_440 + 24 + 1)

timeframes = st.lists(
    st.sampled_from(["1m", "5m", "45m", "1h", "8h", "3h", "1d", "1w"]).map(Timeframe.parse), max_size=9
)


@given(timeframes, st.integers(0, 40_000), st.integers(0, 60_000), st.integers(0, 200_000))
def test_blocks_meet_and_each_is_small_enough(
    every: list[Timeframe], start: int, minutes: int, max_bytes: int
) -> None:
    span = Span(start * MINUTE + 5, (start + minutes) * MINUTE + 5)
    if ROW_BYTES * len(every) > max_bytes:
        with pytest.raises(qmtl.InvalidRequestError, match="one bar of each"):
            list(blocks(span, every, max_bytes))
        return
    found = list(blocks(span, every, max_bytes))
    edges = [span.start, *(one.end for one in found)]
    assert [one.start for one in found] == edges[:-1]
    assert edges[-1] == span.end
    for one in found:
        bars = sum(Grid(timeframe).align(one).length // timeframe.step for timeframe in every)
        assert not one.is_empty
        assert bars * ROW_BYTES <= max_bytes


def test_too_large_is_refused_before_anybody_is_asked(make: Make) -> None:
    vendor = ScriptedVendor()
    provider = make(vendor, max_bytes=BARS * ROW_BYTES - 1)
    for partial_ok in (True, False):
        with pytest.raises(
            qmtl.InvalidRequestError, match=r"3 series of 4,395 bars .* 210,960 bytes[\s\S]*scan_many"
        ):
            provider.fetch_many(NAMES, *SPAN, partial_ok=partial_ok)
    assert vendor.calls == []
    assert make(vendor, "more", max_bytes=BARS * ROW_BYTES).fetch_many(NAMES, *SPAN).frame.height == BARS


def test_hours_without_trade_do_not_count(make: Make) -> None:
    name = "ohlcv:nyse:X:1m"
    day = (to_ns("2024-01-02"), to_ns("2024-01-03"))
    provider = make(ScriptedVendor(), calendars={"*": "XNYS"}, max_bytes=390 * ROW_BYTES, partial_ok=True)
    assert provider.fetch_many([name], *day).results[name].coverage.span == Span(*day)


def test_a_scan_is_the_whole_in_parts(make: Make) -> None:
    provider = make(ScriptedVendor(), max_bytes=50_000)
    found = list(provider.scan_many(NAMES, *SPAN))
    assert len(found) > 3
    whole = make(ScriptedVendor(), "whole").fetch_many(NAMES, *SPAN)
    for part in found:
        assert list(part.results) == NAMES
        assert part.frame.height * ROW_BYTES <= 25_000
    for name in NAMES:
        assert_frame_equal(pl.concat([part[name].frame for part in found]), whole[name].frame)


def test_a_scan_to_now_ends_at_the_last_closed_bar(make: Make) -> None:
    provider = make(ScriptedVendor(), max_bytes=50_000)
    start = to_ns("2024-01-31")
    for end in (None, to_ns("2024-03-01")):
        parts = list(provider.scan_many(NAMES[:2], start, end))
        for name, expected in ((NAMES[0], "2024-01-31T23:59:00Z"), (NAMES[1], "2024-01-31T23:00:00Z")):
            frame = pl.concat([part[name].frame for part in parts])
            assert frame["ts"].to_physical()[-1] == to_ns(expected)


def test_a_scan_refuses_at_once(make: Make) -> None:
    provider = make(ScriptedVendor(), max_bytes=2 * 3 * ROW_BYTES - 1)
    with pytest.raises(qmtl.InvalidRequestError, match="one bar of each of 3 series"):
        provider.scan_many(NAMES, *SPAN)
    with pytest.raises(qmtl.InvalidRequestError, match="comes after end"):
        provider.scan_many(NAMES, SPAN.end, SPAN.start)
    assert len(list(provider.scan_many(NAMES[:2], SPAN.start, SPAN.start + HOUR))) > 1


def test_one_bad_series_is_an_error_of_each_part(make: Make) -> None:
    provider = make(ScriptedVendor(), max_bytes=50_000)
    for part in provider.scan_many([*NAMES, "nonsense"], *SPAN, partial_ok=True):
        assert (list(part.results), list(part.errors)) == (NAMES, ["nonsense"])
    with pytest.raises(qmtl.InvalidRequestError, match="not a node id"):
        list(provider.scan_many(["nonsense", *NAMES], *SPAN))


@pytest.mark.parametrize(("room", "found"), [(2_000, 2_880), (2_900, 3_270)], ids=["read", "then asked for"])
def test_rows_that_no_calendar_expects_count_as_well(make: Make, room: int, found: int) -> None:
    """Two whole days are stored, of which one is a holiday; of the third a vendor has the session."""
    name, calendars, vendor = NAMES[0], {"*": "XNYS"}, ScriptedVendor()
    stored = vendor.bars(name, Span(SPAN.start, SPAN.end - 24 * HOUR))
    qmtl.import_frame(make(calendars=calendars), stored, name)
    provider = make(vendor, calendars=calendars, max_bytes=room * ROW_BYTES)
    with pytest.raises(qmtl.InvalidRequestError, match=rf"{found:,} rows in all[\s\S]*scan_many"):
        provider.fetch_many([name], *SPAN, partial_ok=True)
    parts = [part.frame.height for part in provider.scan_many([name], *SPAN, partial_ok=True)]
    assert sum(parts) == 3_270
    assert max(parts) * 2 <= room
