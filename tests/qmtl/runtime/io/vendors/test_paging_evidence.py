"""What a page proves, tried on exchanges of every habit: nothing is ever called empty that was not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.series import Timeframe
from qmtl.foundation.timeline import Coverage, Int64Array, Span
from qmtl.foundation.times import MINUTE, to_ns
from qmtl.runtime.io.vendors.paging_evidence import (
    Inconclusive,
    PagingState,
    Proof,
    Unusable,
    next_request,
    read,
)

TIMEFRAME = Timeframe.parse("1m")
START = to_ns("2024-01-01")
MOST = 8
LATER = START + 1000 * MINUTE

# The bars that it has, `since` as a minute, and a limit, to the minutes of its answer.
Exchange = Callable[[Sequence[int], int, int], Sequence[int]]


def at(*minutes: int) -> Int64Array:
    return np.array([START + minute * MINUTE for minute in minutes], dtype=np.int64)


def span(first: int, end: int) -> Span:
    return Span(START + first * MINUTE, START + end * MINUTE)


def bounded(has: Sequence[int], since: int, limit: int) -> Sequence[int]:
    """Looks no further than the rows that were asked for."""
    return [m for m in has if since <= m < since + limit]


def unbounded(has: Sequence[int], since: int, limit: int) -> Sequence[int]:
    """Looks for the next rows, however far they are."""
    return [m for m in has if m >= since][:limit]


def short(has: Sequence[int], since: int, limit: int) -> Sequence[int]:
    """Gives three rows at most, whatever the limit."""
    return unbounded(has, since, 3)


def rounding(has: Sequence[int], since: int, limit: int) -> Sequence[int]:
    """Begins at a round time, and leaves it to the client to drop what lies before `since`."""
    return [m for m in has if m >= since - since % 5][: limit + since % 5]


def forgetful(has: Sequence[int], since: int, limit: int) -> Sequence[int]:
    """Keeps its newest rows only, and ignores `since`."""
    return has[-MOST:][:limit] if limit < MOST else has[-MOST:]


@dataclass
class Reading:
    """What came of a reading: the vendor's loop without the network."""

    answered: Coverage = field(default_factory=Coverage)
    rows: set[int] = field(default_factory=set)
    questions: int = 0
    why: str | None = None


def ask_all(exchange: Exchange, has: Sequence[int], wanted: Span, now: int = LATER) -> Reading:
    paging, result, earlier = PagingState(wanted, MOST, TIMEFRAME), Reading(), at()
    while not paging.wanted.is_empty:
        result.questions += 1
        assert result.questions < 1000, "the reading does not end"
        asked = next_request(paging)
        assert 1 <= asked.limit <= MOST
        ts = at(*exchange(has, (asked.since - START) // MINUTE, asked.limit))
        before = paging.wanted.start
        match read(paging, ts, now):
            case Unusable(why):
                result.why = why
                return result
            case Inconclusive(paging):
                earlier = ts
            case Proof(message, paging, _, of_earlier):
                assert paging.wanted.start > before
                assert wanted.contains(message)
                page = earlier if of_earlier else ts
                result.answered |= Coverage.of(message)
                result.rows |= set(page[(page >= message.start) & (page < message.end)].tolist())
    return result


def truth(has: Sequence[int], within: Coverage) -> set[int]:
    return {ts for ts in at(*has).tolist() if within.contains(Span(ts, ts + 1))}


@pytest.mark.parametrize("exchange", [bounded, unbounded, short])
@given(has=st.sets(st.integers(0, 60)), first=st.integers(0, 50), length=st.integers(1, 40))
def test_honest_exchanges_are_believed_in_full(
    exchange: Exchange, has: set[int], first: int, length: int
) -> None:
    wanted = span(first, first + length)
    reading = ask_all(exchange, sorted(has), wanted)
    assert reading.why is None
    assert reading.answered == Coverage.of(wanted)
    assert reading.rows == truth(sorted(has), Coverage.of(wanted))


@pytest.mark.parametrize("exchange", [bounded, unbounded])
def test_a_busy_market_is_asked_once_a_page(exchange: Exchange) -> None:
    # Each page but the first holds the last bar of the page before.
    assert ask_all(exchange, range(100), span(10, 10 + MOST + 3 * (MOST - 1))).questions == 4
    assert ask_all(exchange, range(100), span(10, 11)).questions == 1


@given(share=st.sets(st.integers(0, 99), min_size=20, max_size=90))
def test_a_quiet_market_costs_few_questions(share: set[int]) -> None:
    has = sorted(share)
    reading = ask_all(unbounded, has, span(0, 100))
    # One more for a silence at either end, and for each that is longer than a page.
    long = sum(b - a >= MOST for a, b in zip([-1, *has], [*has, 100], strict=True))
    behind = 100 - max(has)
    assert reading.questions <= len(has) // (MOST - 1) + 1 + 5 + 4 * long + 2 * (behind // MOST)


@given(has=st.sets(st.integers(0, 60)), first=st.integers(0, 50), length=st.integers(1, 40))
def test_rows_of_a_round_time_before_the_question_are_no_lie(has: set[int], first: int, length: int) -> None:
    wanted = span(first, first + length)
    reading = ask_all(rounding, sorted(has), wanted)
    assert reading.rows == truth(sorted(has), reading.answered)
    # A silence at either end looks like a page that comes again whatever is asked: it stays unknown.
    assert not truth(sorted(has), Coverage.of(wanted) - reading.answered)


@given(first=st.integers(0, 50), length=st.integers(1, 40))
def test_what_an_exchange_forgot_stays_unknown(first: int, length: int) -> None:
    # It traded every minute until now, and knows of the last few only.
    has = list(range(60))
    wanted = span(first, min(first + length, 60))
    reading = ask_all(forgetful, has, wanted, START + 60 * MINUTE)
    kept = Coverage.of(wanted).clip(span(60 - MOST, 60))
    assert reading.answered == kept
    assert reading.rows == truth(has, kept)
    assert (reading.why is None) == bool(kept), "none of what it has is an answer"


# -- lies: rows that are true, and answers to other questions ---------------------------------------------


@dataclass
class Liar:
    """Answers by a script of habits, one for each question; the last one stays."""

    honest: Exchange
    script: list[tuple[str, int, int]]
    asked: int = 0

    def __call__(self, has: Sequence[int], since: int, limit: int) -> Sequence[int]:
        # Answers without a row are believed when two agree; these lies have rows.
        return self.answer(has, since, limit) or has[:1]

    def answer(self, has: Sequence[int], since: int, limit: int) -> Sequence[int]:
        habit, a, b = self.script[min(self.asked, len(self.script) - 1)]
        self.asked += 1
        match habit:
            case "cached":
                return [m for m in has if m >= a][:b]
            case "elsewhere":
                return self.honest(has, since + a, limit)
            case "newest":
                return has[-b:]
            case "seconds":
                return [-28_000_000 + m // 1000 for m in self.honest(has, since, limit)]
        return self.honest(has, since, limit)


lies = st.one_of(
    st.tuples(st.just("cached"), st.integers(0, 90), st.integers(1, MOST)),
    st.tuples(st.just("elsewhere"), st.integers(-60, 60).filter(bool), st.just(0)),
    st.tuples(st.just("newest"), st.just(0), st.integers(1, MOST)),
    st.tuples(st.just("seconds"), st.just(0), st.just(0)),
)
HONEST = ("honest", 0, 0)


@pytest.mark.parametrize("exchange", [unbounded, short])
@given(
    has=st.sets(st.integers(0, 100), min_size=60),
    first=st.integers(0, 60),
    length=st.integers(1, 40),
    lie=lies,
    since=st.integers(0, 6),
)
def test_who_answers_other_questions_is_never_believed_about_a_silence(
    exchange: Exchange, has: set[int], first: int, length: int, lie: tuple[str, int, int], since: int
) -> None:
    """From some question on, every answer is the answer to another one."""
    wanted = span(first, first + length)
    reading = ask_all(Liar(exchange, [*[HONEST] * since, lie]), sorted(has), wanted)
    assert reading.rows == truth(sorted(has), reading.answered), "a bar that traded was called silent"
    assert reading.why is not None or reading.answered, "it ends with an answer, or with an error"


@given(
    has=st.sets(st.integers(0, 100), min_size=60),
    first=st.integers(0, 60),
    length=st.integers(1, 40),
    lie=lies,
    places=st.sets(st.integers(0, 9)),
)
def test_single_lies_among_honest_answers(
    has: set[int], first: int, length: int, lie: tuple[str, int, int], places: set[int]
) -> None:
    """Never two of three answers in a row: then there is always one that shows it."""
    script = [HONEST] * 31
    for place in places:
        script[3 * place] = lie
    wanted = span(first, first + length)
    reading = ask_all(Liar(unbounded, script), sorted(has), wanted)
    assert reading.rows == truth(sorted(has), reading.answered), "a bar that traded was called silent"


# -- one by one -------------------------------------------------------------------------------------------


def judged(ts: Int64Array, wanted: Span, now: int = LATER) -> Proof | Inconclusive | Unusable:
    return read(PagingState(wanted, MOST, TIMEFRAME), ts, now)


def message(outcome: Proof | Inconclusive | Unusable) -> Span:
    assert isinstance(outcome, Proof)
    assert outcome.paging.wanted.start == outcome.answered.end
    return outcome.answered


def test_a_short_page_proves_what_it_holds_and_no_more() -> None:
    assert message(judged(at(0, 1, 2), span(0, 8))) == span(0, 3)


def test_rows_in_any_order_and_twice() -> None:
    assert message(judged(at(2, 0, 1, 1, 2, 0), span(0, 8))) == span(0, 3)


def test_rows_behind_the_end_prove_silence_before_it() -> None:
    assert message(judged(at(0, 9), span(0, 8))) == span(0, 8)


def test_an_empty_page_is_asked_again_before_it_is_believed() -> None:
    first = judged(at(), span(0, 20))
    assert isinstance(first, Inconclusive)
    assert message(read(first.paging, at(), LATER)) == span(0, 8)
    assert message(read(first.paging, at(0, 1), LATER)) == span(0, 2)


def test_a_late_page_is_asked_again_from_further_back() -> None:
    first = judged(at(33, 34), span(30, 40))
    assert isinstance(first, Inconclusive)
    assert next_request(first.paging).since == at(30 - MOST // 2)[0]
    assert message(read(first.paging, at(27, 33, 34), LATER)) == span(30, 35)


def test_a_page_that_is_asked_for_again_may_be_shorter_than_the_way_back() -> None:
    first = judged(at(33, 34), span(30, 40))
    assert isinstance(first, Inconclusive)
    second = read(first.paging, at(26, 27), LATER)
    assert isinstance(second, Inconclusive)
    assert next_request(second.paging).since == at(27)[0]
    assert message(read(second.paging, at(27, 33), LATER)) == span(30, 34)


def test_before_the_first_bar_of_all_the_exchange_shows_that_it_heeds_the_question() -> None:
    paging = PagingState(span(0, 20), MOST, TIMEFRAME)
    for page in (at(15, 16), at(15, 16)):
        outcome = read(paging, page, LATER)
        assert isinstance(outcome, Inconclusive)
        paging = outcome.paging
    assert next_request(paging).since == at(16)[0]
    proof = read(paging, at(16, 17), LATER)
    assert isinstance(proof, Proof)
    assert (proof.answered, proof.first, proof.of_earlier) == (span(0, 17), at(15)[0], True)
    cached = read(paging, at(15, 16), LATER)
    assert isinstance(cached, Proof)
    assert cached.answered == span(15, 17), "what lies between its rows, and no more"


def test_a_forming_bar_shows_silence_and_bars_of_the_future_are_nonsense() -> None:
    now = START + 5 * MINUTE + MINUTE // 2
    assert message(judged(at(3, 4, 5, 700), span(3, 5), now)) == span(3, 5)
    assert message(judged(at(2, 5), span(3, 5), now)) == span(3, 5)
    future = judged(at(700), span(3, 5), now)
    assert isinstance(future, Inconclusive)
    assert isinstance(read(future.paging, at(700), now), Unusable)


def test_rows_from_before_the_question_are_asked_for_once_more() -> None:
    first = judged(at(0, 1), span(10, 12))
    assert isinstance(first, Inconclusive)
    assert message(read(first.paging, at(10, 11), LATER)) == span(10, 12)
    second = read(first.paging, at(0, 1), LATER)
    assert isinstance(second, Unusable)
    assert "2 rows from 2024-01-01 to 2024-01-01T00:01:00Z, none of them within" in second.why
