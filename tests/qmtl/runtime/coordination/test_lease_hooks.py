"""News of leases: each step is told once, however often and late it is shown."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.times import SECOND, iso
from qmtl.runtime.coordination.lease_hooks import News

START = 1_000 * SECOND
# When a step comes to be seen, and how much earlier it is dated.
moments = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 29)), max_size=40)


def shown(number: int, at: int) -> dict[str, Any]:
    facts = {"lease_key": f"s/x/{number}", "holder": "w", "attempts": 1, "why": None}
    return {"id": str(number), "at": iso(at), "event": "failed", **facts}


@given(moments)
def test_each_step_is_told_once(steps: list[tuple[int, int]]) -> None:
    news, told = News(START), []
    stored = sorted(
        (START + (seen + 30) * SECOND, START + (seen + 30 - late) * SECOND, number)
        for number, (seen, late) in enumerate(steps)
    )
    for now in range(START, START + 340 * SECOND, 5 * SECOND):
        found = [shown(n, at) for seen, at, n in stored if seen <= now and at >= news.from_time]
        told += [step.lease_key for step in news.of(sorted(found, key=lambda one: str(one["at"])))]
        assert len(news._seen) <= len(steps)
    assert sorted(told) == sorted(f"s/x/{number}" for number in range(len(steps)))


def test_what_was_told_long_ago_is_forgotten() -> None:
    news = News(START)
    for second in range(0, 10_000, 10):
        news.of([shown(second, START + second * SECOND)])
        assert len(news._seen) <= 4
