"""The cache holds ranges: slices of them are the same memory, and it never outgrows its bound."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.frames import stamps
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.foundation.states import bar_states
from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.foundation.times import MINUTE
from qmtl.runtime.conformance.flags import Flags
from qmtl.runtime.conformance.registered_schema import NOT_CHECKED
from qmtl.runtime.io.cache import RangeCache
from qmtl.runtime.io.evaluated_range import EvaluatedRange
from qmtl.runtime.testing.bars import synthetic_bars

SERIES = SeriesId.parse("ohlcv:test:A/B:1m")
GRID = Grid(SERIES.timeframe)
MIB = 1 << 20


def span(first: int, last: int) -> Span:
    return Span(first * MINUTE, last * MINUTE)


def evaluated(
    first: int,
    last: int,
    *,
    holes: set[int] = frozenset(),
    tx: int = 1,
    until: int | None = None,  # type: ignore[assignment]
) -> EvaluatedRange:
    """Minutes `[first, last)` with a row for each but `holes`, which nobody answered for."""
    frame = synthetic_bars(SERIES, span(first, last))
    ts = stamps(frame)
    frame = frame.filter(~np.isin(ts // MINUTE, list(holes)))
    states = bar_states(span(first, last), GRID, stamps(frame), EMPTY, EMPTY)
    flagged = stamps(frame)[::7]
    flags = Flags.of({"quality.volume_spike": flagged})
    return EvaluatedRange(
        SERIES,
        GRID,
        SeriesFacts(),
        frame,
        states,
        flags,
        NOT_CHECKED,
        answers=(),
        tx=tx,
        as_of=tx,
        valid_until=until,
    )


def test_a_sub_range_shares_the_memory_of_the_range() -> None:
    cache = RangeCache(MIB)
    whole = evaluated(0, 1000)
    cache.put(whole, 0)
    part = cache.get(SERIES, span(100, 200), now=0)
    assert part is not None
    address = whole.frame["close"].to_numpy().__array_interface__["data"][0]
    assert part.frame["close"].to_numpy().__array_interface__["data"][0] == address + 100 * 8


@given(st.sets(st.integers(0, 99), max_size=40), st.integers(0, 100), st.integers(0, 100))
def test_a_cut_is_what_the_range_itself_would_have_been(holes: set[int], a: int, b: int) -> None:
    first, last = min(a, b), max(a, b)
    whole = evaluated(0, 100, holes=holes)
    part, alone = whole.cut(span(first, last)), evaluated(first, last, holes=holes)
    assert part.frame.equals(alone.frame)
    assert part.states == alone.states
    assert part.unknown == alone.unknown
    inside = (whole.flags.ts >= first * MINUTE) & (whole.flags.ts < last * MINUTE)
    assert part.flags.ts.tolist() == whole.flags.ts[inside].tolist()
    again = part.cut(span(first, first)) if first < last else part
    assert again.frame.height == 0 or again is part


def test_what_is_not_covered_whole_is_not_there() -> None:
    cache = RangeCache(MIB)
    cache.put(evaluated(100, 200), 0)
    assert cache.get(SERIES, span(100, 201), now=0) is None
    assert cache.get(SERIES, span(99, 200), now=0) is None
    assert cache.get(SeriesId.parse("ohlcv:test:A/B:5m"), span(100, 200), now=0) is None
    assert cache.get(SERIES, span(100, 200), now=0) is not None


def test_the_least_used_leaves_first_and_the_bound_holds() -> None:
    size = evaluated(0, 100).nbytes
    cache = RangeCache(3 * size)
    for first in (0, 100, 200):
        cache.put(evaluated(first, first + 100), 0)
    assert cache.get(SERIES, span(0, 10), now=0) is not None
    cache.put(evaluated(300, 400), 0)
    assert cache.bytes <= cache.max_bytes
    assert cache.get(SERIES, span(100, 110), now=0) is None, "it was used longest ago"
    assert cache.get(SERIES, span(0, 10), now=0) is not None
    cache.put(evaluated(0, 2000), 0)
    assert cache.bytes <= cache.max_bytes
    assert cache.get(SERIES, span(1500, 1600), now=0) is None, "larger than the whole cache: not kept"


def test_what_was_read_before_the_horizon_leaves_also_what_comes_late() -> None:
    cache = RangeCache(MIB)
    old, new = evaluated(0, 100), evaluated(100, 200)
    old.as_of, new.as_of = 10, 20
    cache.put(old, 0)
    cache.put(new, 0)
    cache.forget_before(20)
    cache.forget_before(0)  # of a look that began earlier
    cache.put(old, 0)
    assert cache.get(SERIES, span(0, 100), now=0) is None
    assert cache.get(SERIES, span(100, 200), now=0) is not None
    assert cache.bytes == new.nbytes


def test_a_wider_range_replaces_those_within_it() -> None:
    cache = RangeCache(MIB)
    cache.put(evaluated(0, 50), 0)
    cache.put(evaluated(50, 100), 0)
    cache.put(evaluated(0, 200), 0)
    assert cache.bytes == evaluated(0, 200).nbytes


def test_a_commit_lets_go_of_what_was_read_before_it() -> None:
    cache = RangeCache(MIB)
    cache.put(evaluated(0, 100, tx=5), 0)
    cache.forget(SERIES, 5)
    assert cache.get(SERIES, span(0, 100), now=0) is not None, "it was read at that very commit"
    cache.forget(SERIES, 6)
    assert cache.get(SERIES, span(0, 100), now=0) is None
    cache.put(evaluated(0, 100, tx=5), 0)
    assert cache.get(SERIES, span(0, 100), now=0) is None, (
        "a read that began before the commit comes too late"
    )
    assert cache.bytes == 0


@pytest.mark.parametrize(("now", "there"), [(9, True), (10, False)])
def test_an_absence_that_expires_ends_the_range(now: int, there: bool) -> None:
    cache = RangeCache(MIB)
    cache.put(evaluated(0, 100, until=10), 0)
    assert (cache.get(SERIES, span(0, 100), now=now) is not None) is there


def test_a_look_up_and_a_clear_do_not_meet() -> None:
    cache = RangeCache(MIB)
    cache.put(evaluated(0, 100), 0)

    class ClearedMeanwhile:
        """Stands for the lock: whoever waits for it finds the cache cleared by the one before."""

        def __enter__(self) -> None:
            cache._by_series.clear()
            cache._used.clear()

        def __exit__(self, *_: object) -> None: ...

    cache._lock = ClearedMeanwhile()  # type: ignore[assignment]
    assert cache.get(SERIES, span(0, 100), now=0) is None


def test_clear_forgets_all() -> None:
    cache = RangeCache(MIB)
    cache.put(evaluated(0, 100), 0)
    cache.clear()
    assert (cache.bytes, cache.get(SERIES, span(0, 100), now=0)) == (0, None)
    assert Coverage() == EMPTY
