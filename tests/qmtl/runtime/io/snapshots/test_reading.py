"""A snapshot read in place gives the bars of a range, and refuses files that the manifest does not mean."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qmtl.foundation.clock import SystemClock
from qmtl.foundation.errors import StoreCorruptError
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import DAY, SECOND
from qmtl.runtime.io.snapshots.manifest import SeriesEntry
from qmtl.runtime.io.snapshots.reading import bars_of, opinions_of, read_segment, records_of, verified_segment
from qmtl.runtime.io.snapshots.writing import write_snapshot
from qmtl.runtime.io.store.values import ALL_TIME
from tests.qmtl.runtime.io.snapshots.filled import DAILY, SECONDS, START


@pytest.fixture
def entries(store, place) -> dict[SeriesId, SeriesEntry]:
    made = write_snapshot(store, place, [SECONDS, DAILY], clock=SystemClock()).manifest
    return {entry.series: entry for entry in made.series}


@given(st.tuples(st.integers(-5, 25 * 86_400), st.integers(-5, 25 * 86_400)).map(sorted))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_range_is_what_the_store_has(store, place, entries, ends):
    span = Span(*(START + second * SECOND + 1 for second in ends))
    assert bars_of(place, entries[SECONDS], span).equals(store.read(SECONDS, span).frame)


def test_answers_and_opinions(store, place, entries):
    assert records_of(place, entries[DAILY]) == list(store.read(DAILY, ALL_TIME).answers)
    assert len(opinions_of(place, entries[DAILY]).reports) == 1
    assert not opinions_of(place, entries[SECONDS])


def test_a_whole_file_of_other_bars_is_refused(place, entries):
    first, second, _ = entries[SECONDS].segments
    foreign = replace(first, part=second.part)
    with pytest.raises(StoreCorruptError, match="is not what the manifest says"):
        read_segment(place, foreign)
    lying = replace(first, fingerprint="blake3:0")
    assert read_segment(place, lying).height == first.rows
    with pytest.raises(StoreCorruptError, match="is not what the manifest says"):
        verified_segment(place, lying)


def test_only_the_files_of_a_range_are_read(place, entries):
    first, second, _ = entries[SECONDS].segments
    place.remove(first.part.name)
    assert bars_of(place, entries[SECONDS], second.span).height == second.rows
    with pytest.raises(StoreCorruptError, match="it is not there"):
        bars_of(place, entries[SECONDS], Span(START, START + DAY))
