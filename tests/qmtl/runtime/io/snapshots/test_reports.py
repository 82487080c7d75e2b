"""Reports and acceptances travel once, and only those that are about what the snapshot holds."""

from __future__ import annotations

from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import DAY
from qmtl.runtime.io.snapshots.reports import (
    Opinions,
    add_opinions,
    opinions_at,
    opinions_of_bytes,
    opinions_to_bytes,
)
from qmtl.runtime.io.store.memory import MemoryStore
from tests.qmtl.runtime.io.snapshots.filled import DAILY, SECONDS, START, add_seconds, report


def test_they_come_back(store):
    opinions = opinions_at(store, DAILY, store.newest().as_of)
    assert (len(opinions.reports), len(opinions.accepted)) == (1, 1)
    assert opinions_of_bytes(opinions_to_bytes(opinions)) == opinions
    assert not opinions_at(store, SECONDS, store.newest().as_of)


def test_they_are_added_once_and_in_their_order(store):
    report(store, DAILY, Span(START, START + 30 * DAY), SeriesFacts(has_volume=False))
    opinions, other = opinions_at(store, DAILY, store.newest().as_of), MemoryStore()
    assert add_opinions(other, DAILY, opinions) == 2
    assert add_opinions(other, DAILY, opinions) == 0
    assert opinions_at(other, DAILY, store.newest().as_of) == opinions
    assert other.newest_report(DAILY) == store.newest_report(DAILY)


def test_a_report_on_a_later_commit_is_none_of_an_earlier_one(store):
    before = store.newest().as_of
    add_seconds(store, 2)
    report(store, DAILY, Span(START, START + 30 * DAY), SeriesFacts(has_volume=False))
    assert len(opinions_at(store, DAILY, before).reports) == 1
    assert len(opinions_at(store, DAILY, store.newest().as_of).reports) == 2
    assert not Opinions((), ())
