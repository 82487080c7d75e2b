"""What is vouched for lacks no commit that could be seen at the server so long ago."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from qmtl.runtime.io.sql.postgres.heard import Heard, is_vouched

TIMES = st.integers(0, 30).map(float)


class Question(NamedTuple):
    """When it was sent, when the server looked, and when its answer arrived."""

    sent: float
    looked: float
    heard: float


QUESTIONS = st.lists(TIMES, min_size=3, max_size=3).map(lambda times: Question(*sorted(times)))


@given(
    commits=st.lists(TIMES, max_size=5).map(sorted),
    questions=st.lists(QUESTIONS, max_size=5),
    followed=st.integers(0, 5),
    own=TIMES,
    now=TIMES,
    max_staleness=st.integers(0, 10).map(float),
)
def test_nothing_older_than_the_bound_is_missed(
    commits: list[float],
    questions: list[Question],
    followed: int,
    own: float,
    now: float,
    max_staleness: float,
) -> None:
    """Against what somebody knows who sees both sides."""
    arrived = [one for one in questions if one.heard <= now]
    heard = None
    if arrived:
        last = max(arrived, key=lambda one: one.heard)
        heard = Heard(sum(at <= last.looked for at in commits), last.sent)
    committed_at = own if own <= now else 0.0
    if is_vouched(heard, followed, now=now, max_staleness=max_staleness, committed_at=committed_at):
        visible = sum(at <= now - max_staleness for at in commits)
        assert followed >= visible
        assert followed >= sum(at <= committed_at for at in commits), "what this process has committed"


def test_it_vouches_as_long_as_the_bound_says() -> None:
    heard = Heard(7, asked_at=100.0)
    bound = {"max_staleness": 1.0, "committed_at": 0.0}
    assert is_vouched(heard, 7, now=100.0, **bound)
    assert is_vouched(heard, 7, now=101.0, **bound)
    assert not is_vouched(heard, 7, now=101.001, **bound)


def test_another_version_is_asked_for_also_if_it_is_older() -> None:
    """A server that was brought back from a backup has an older one."""
    for version in (6, 8):
        assert not is_vouched(Heard(7, 100.0), version, now=100.0, max_staleness=1.0, committed_at=0.0), (
            version
        )


def test_own_commits_are_asked_for_until_the_server_was_asked_after_them() -> None:
    bound = {"now": 100.5, "max_staleness": 1.0}
    assert not is_vouched(Heard(7, 100.0), 7, committed_at=100.1, **bound)
    assert is_vouched(Heard(7, 100.1), 7, committed_at=100.1, **bound)


def test_where_nothing_was_heard_nothing_is_vouched_for() -> None:
    assert not is_vouched(None, 0, now=0.0, max_staleness=1.0, committed_at=0.0)
