"""News of leases: each step is told once, however often and late it is shown, and whatever clocks show."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.times import HOUR, SECOND, iso
from qmtl.runtime.coordination.lease_hooks import News, Shown

START = 1_000 * HOUR
# How much the clocks of three coordinators are ahead (s); which of them stores a step when (s).
clocks = st.lists(st.integers(-7_200, 7_200), min_size=3, max_size=3)
moments = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 2)), max_size=40)


class Stored:
    """Steps in the order in which they are stored, each dated by the clock of who stores it."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Any]] = []

    def store(self, at: int) -> None:
        number = len(self.steps)
        facts = {"lease_key": f"s/x/{number}", "holder": "w", "attempts": 1, "why": None}
        self.steps.append(
            {"id": f"{at}.{number}", "revision": number + 1, "at": iso(at), "event": "failed", **facts}
        )

    def shown(self, since: int, now: int) -> Shown:
        found = sorted((one for one in self.steps if one["at"] >= iso(since)), key=lambda one: one["at"])
        return Shown(found, len(self.steps), now)


def heard(news: News, stored: Stored, now: int) -> list[str]:
    shown = stored.shown(min(news.since, now - 30 * SECOND), now)
    return [step.lease_key for step in news.of(shown)]


@given(clocks, moments, st.integers(1, 60))
def test_each_step_is_told_once_in_the_order_of_arrival(
    ahead: list[int], steps: list[tuple[int, int]], pause: int
) -> None:
    stored, told = Stored(), []
    behind = min(0, *ahead) * SECOND
    stored.store(START + 7_200 * SECOND)  # before anybody listens
    news = News(START + behind - 30 * SECOND, 1)
    waiting = sorted(steps)
    for second in range(0, 301 + pause, pause):
        while waiting and waiting[0][0] <= second:
            at, who = waiting.pop(0)
            stored.store(START + (at + ahead[who]) * SECOND)
        told += heard(news, stored, START + second * SECOND + behind)
        assert len(news._told) <= len(steps)
    assert told == [f"s/x/{number + 1}" for number in range(len(steps))]


def test_a_clock_that_nobody_knew_of_is_heard_when_it_is_known() -> None:
    stored, news = Stored(), News(START - 30 * SECOND, 0)
    stored.store(START - HOUR)
    assert heard(news, stored, START) == []
    stored.store(START)
    assert heard(news, stored, START + 2 * SECOND - HOUR) == ["s/x/0", "s/x/1"]
    assert heard(news, stored, START + 4 * SECOND - HOUR) == []


def test_what_another_database_holds_is_new() -> None:
    stored, news = Stored(), News(START - 30 * SECOND, 1_000)
    stored.store(START)
    assert heard(news, stored, START) == ["s/x/0"]
    assert heard(news, stored, START) == []


def test_what_was_told_long_ago_is_forgotten() -> None:
    stored, news = Stored(), News(START, 0)
    for second in range(0, 10_000, 10):
        stored.store(START + second * SECOND)
        heard(news, stored, START + second * SECOND)
        assert len(news._told) <= 2
