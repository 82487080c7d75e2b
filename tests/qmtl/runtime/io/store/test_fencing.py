"""Fencing tokens: who gets a new one, and which writes come too late."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.foundation.times import MINUTE
from qmtl.runtime.io.store.fencing import Fence, refuse_unfenced, renewed, shards_of, stale_fence
from qmtl.runtime.io.store.values import Write

SERIES = SeriesId.parse("ohlcv:test:A/B:1m")
STEPS = 10
WIDTH = STEPS * MINUTE

shards = st.integers(-3, 6)
coverages = st.lists(st.tuples(st.integers(-30, 60), st.integers(0, 25)), max_size=3).map(
    lambda parts: Coverage((a * MINUTE, (a + n) * MINUTE) for a, n in parts)
)


@given(st.sets(st.integers(-(2**63), 2**63 - 1) | st.integers(-99, 99)), st.integers(1, 2**40))
def test_the_shards_of_stamps_are_those_of_each_of_them(instants: set[int], width: int) -> None:
    """Many stamps in few shards, few in shards far apart, and up to the ends of what an int64 holds."""
    ts = np.array(sorted(instants), np.int64)
    assert shards_of(ts, width) == {instant // width for instant in instants}


def test_a_claim_keeps_its_own_token_and_gets_a_new_one_elsewhere() -> None:
    newest = {1: Fence(4, "mine"), 2: Fence(5, "theirs")}
    assert renewed(newest, [1, 2, 3], "mine", 9) == {1: 4, 2: 9, 3: 9}


@given(
    st.sets(shards, max_size=6),
    st.sets(st.integers(-30, 79), max_size=6),
    *[coverages] * 4,
)
def test_a_write_needs_a_token_for_every_shard_that_it_touches(
    fenced: set[int],
    minutes: set[int],
    answered: Coverage,
    absent: Coverage,
    retracted: Coverage,
    refused: Coverage,
) -> None:
    """Oracle: the shard of each instant that the write speaks of, and of each row."""
    write = Write(
        "test",
        1,
        answered=answered,
        absent=absent,
        retracted=retracted,
        refused=refused,
        fences=dict.fromkeys(fenced, 7),
    )
    spoken = {
        minute // STEPS
        for start, end in (*answered, *absent, *retracted)
        for minute in range(start // MINUTE, end // MINUTE)
    }
    bare = (spoken | {minute // STEPS for minute in minutes}) - fenced
    ts = np.array(sorted(minutes), dtype=np.int64) * MINUTE
    if not fenced or not bare:
        refuse_unfenced(SERIES, write, ts, STEPS)
        return
    with pytest.raises(InvalidRequestError, match="no token for a shard") as error:
        refuse_unfenced(SERIES, write, ts, STEPS)
    assert error.value.series == SERIES.text
    assert str(min(bare)) in (error.value.why or "")


@pytest.mark.parametrize("end", [WIDTH, WIDTH + 1])
def test_the_open_end_of_an_answer_touches_no_further_shard(end: int) -> None:
    write = Write("test", 1, answered=Coverage.of(Span(0, end)), fences={0: 1})
    nothing = np.empty(0, dtype=np.int64)
    if end == WIDTH:
        refuse_unfenced(SERIES, write, nothing, STEPS)
    else:
        with pytest.raises(InvalidRequestError, match="no token"):
            refuse_unfenced(SERIES, write, nothing, STEPS)


@given(
    st.dictionaries(shards, st.integers(1, 3), max_size=5),
    st.dictionaries(shards, st.integers(1, 3), max_size=5),
)
def test_a_token_that_is_not_the_newest_of_its_shard_is_stale(
    fences: dict[int, int], tokens: dict[int, int]
) -> None:
    newest = {shard: Fence(token, f"claim {shard}") for shard, token in tokens.items()}
    stale = {shard: token for shard, token in fences.items() if tokens.get(shard) != token}
    error = stale_fence(SERIES, fences, newest)
    if not stale:
        assert error is None
        return
    assert error is not None
    assert error.stale == stale
    assert error.series == SERIES.text


def test_the_refusal_says_which_token_is_the_newest_and_whose() -> None:
    newest = {1: Fence(4, "theirs")}
    error = stale_fence(SERIES, {1: 2, 5: 2}, newest)
    assert error is not None
    assert error.why == (
        "shard 1: token 2, the newest is 4 (of theirs), shard 5: token 2 was never issued by this store"
    )
    many = stale_fence(SERIES, dict.fromkeys(range(5), 1), {})
    assert many is not None
    assert (many.why or "").endswith(", and 2 more")


def test_a_write_without_fences_is_asked_nothing() -> None:
    write = Write("import", 1, answered=Coverage.of(Span(0, 5 * WIDTH)))
    refuse_unfenced(SERIES, write, np.array([0], dtype=np.int64), STEPS)
    assert stale_fence(SERIES, write.fences, {0: Fence(3, "theirs")}) is None
    assert Write("import", 1).covered == EMPTY
