"""What a page proves, tried on exchanges of every habit: nothing is ever called empty that was not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.series import Timeframe
from qmtl.foundation.timeline import Coverage, Int64Array, Span
from qmtl.foundation.times import MINUTE, to_ns
from qmtl.runtime.io.vendors.proofs import AskAgain, Proof, question, read

TIMEFRAME = Timeframe.parse("1m")
START = to_ns("2024-01-01")
MOST = 8

Exchange = Callable[[list[int], int, int], list[int]]


def at(*minutes: int) -> Int64Array:
    return np.array([START + minute * MINUTE for minute in minutes], dtype=np.int64)


def span(first: int, end: int) -> Span:
    return Span(START + first * MINUTE, START + end * MINUTE)


def bounded(has: list[int], since: int, limit: int) -> list[int]:
    """Looks no further than the rows that were asked for."""
    return [m for m in has if since <= m < since + limit]


def unbounded(has: list[int], since: int, limit: int) -> list[int]:
    """Looks for the next rows, however far they are."""
    return [m for m in has if m >= since][:limit]


def forgetful(has: list[int], since: int, limit: int) -> list[int]:
    """Keeps its newest rows only; the client then cuts the answer."""
    return [m for m in has[-MOST:] if m >= since][:limit]


def ask_all(exchange: Exchange, has: list[int], wanted: Span, now: int) -> tuple[Coverage, set[int], int]:
    """The vendor's loop without the network: what was answered, the rows within, and how many questions."""
    answered, rows, questions = Coverage(), set[int](), 0
    doubt: AskAgain | None = None
    while not wanted.is_empty:
        questions += 1
        asked = question(wanted, MOST, TIMEFRAME, doubt)
        ts = at(*exchange(has, (wanted.start - START) // MINUTE, asked.limit))
        match read(asked, ts, now, doubt):
            case AskAgain() as again:
                doubt = again
            case Proof(said, go_on_at):
                answered |= Coverage.of(said)
                rows |= set(ts[(ts >= said.start) & (ts < said.end)].tolist())
                assert go_on_at > wanted.start
                wanted, doubt = Span(go_on_at, wanted.end), None
    return answered, rows, questions


@pytest.mark.parametrize("exchange", [bounded, unbounded])
@given(has=st.sets(st.integers(0, 60)), first=st.integers(0, 50), length=st.integers(1, 40))
def test_honest_exchanges_are_believed_in_full(
    exchange: Exchange, has: set[int], first: int, length: int
) -> None:
    wanted = span(first, first + length)
    answered, rows, questions = ask_all(exchange, sorted(has), wanted, START + 1000 * MINUTE)
    assert answered == Coverage.of(wanted)
    assert rows == {ts for ts in at(*sorted(has)).tolist() if wanted.start <= ts < wanted.end}
    assert questions <= 3 * (length + 1)


@given(first=st.integers(0, 50), length=st.integers(1, 40))
def test_what_an_exchange_forgot_stays_unknown(first: int, length: int) -> None:
    # It traded every minute until now, and knows of the last few only.
    has = list(range(60))
    wanted = span(first, min(first + length, 60))
    answered, rows, _ = ask_all(forgetful, has, wanted, START + 60 * MINUTE)
    kept = span(60 - MOST, 60)
    assert answered == Coverage.of(wanted).clip(kept)
    assert rows == {
        ts for ts in at(*has).tolist() if Coverage.of(wanted).clip(kept).contains(Span(ts, ts + 1))
    }


def judged(ts: Int64Array, wanted: Span, now: int = START + 1000 * MINUTE) -> Proof | AskAgain:
    return read(question(wanted, MOST, TIMEFRAME), ts, now)


def test_a_short_page_proves_what_it_holds_and_no_more() -> None:
    assert judged(at(0, 1, 2), span(0, 8)) == Proof(span(0, 3), span(0, 3).end)


def test_rows_in_any_order_and_twice() -> None:
    assert judged(at(2, 0, 1, 1, 2, 0), span(0, 8)) == Proof(span(0, 3), span(0, 3).end)


def test_rows_behind_the_end_prove_silence_before_it() -> None:
    assert judged(at(0, 9), span(0, 8)) == Proof(span(0, 8), span(0, 8).end)


def test_an_empty_page_is_asked_again_before_it_is_believed() -> None:
    asked = question(span(0, 20), MOST, TIMEFRAME)
    nothing = at()
    first = read(asked, nothing, START + 1000 * MINUTE)
    assert first == AskAgain(MOST, None)
    assert read(asked, nothing, START + 1000 * MINUTE, first) == Proof(span(0, 8), span(0, 8).end)
    assert read(asked, at(0, 1), START + 1000 * MINUTE, first) == Proof(span(0, 2), span(0, 2).end)


def test_answers_that_contradict_each_other_are_not_believed() -> None:
    asked = question(span(0, 20), MOST, TIMEFRAME)
    assert read(asked, at(30, 31), START + 1000 * MINUTE, AskAgain(MOST, None)) == AskAgain(MOST, at(30)[0])


def test_a_forming_bar_and_bars_of_the_future_prove_nothing() -> None:
    now = START + 5 * MINUTE + MINUTE // 2
    assert judged(at(3, 4, 5, 700), span(3, 5), now) == Proof(span(3, 5), span(3, 5).end)
    assert isinstance(judged(at(5, 700), span(3, 5), now), AskAgain)


def test_rows_from_before_the_question_prove_nothing() -> None:
    assert judged(at(0, 1), span(10, 12)) == AskAgain(MOST, None)
    assert judged(at(0, 1, 10), span(10, 12)) == Proof(span(10, 11), span(10, 11).end)
