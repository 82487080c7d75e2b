"""Flags that are kept until a commit touches what they rest on, as tests that an implementation inherits."""

from __future__ import annotations

import numpy as np
import pytest

from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.timeline import Coverage, Span
from qmtl.runtime.conformance.flags import EMPTY_FLAGS, Flags
from qmtl.runtime.conformance.kept_flags import KeptFlags
from qmtl.runtime.io.store.contract import Store
from qmtl.runtime.io.store.values import Judged, Write
from qmtl.runtime.testing.store_suites.bars import OTHER, SERIES, STEP, minutes, some_bars, write

RULES = b"some rules      "
FLAGS = Flags.of(
    {"quality.price_spike": np.array([20, 70]) * STEP}, {"temporal.silence": Coverage.of(minutes(30, 40))}
)


BARS, REACH = minutes(10, 60), minutes(5, 65)


def some_judged(store: Store, span: Span = BARS, reach: Span = REACH) -> Judged:
    return Judged(SERIES, RULES, store.newest(), KeptFlags(span, reach, FLAGS.clip(span)))


class FlagArchiveSuite:
    """Inherit it, and give a fixture `store` that is an empty, writable store."""

    @pytest.fixture
    def kept(self, store: Store) -> Store:
        """Flags of minutes 10 to 60, which rest on 5 to 65."""
        store.commit(SERIES, write(some_bars(0, 100), answered=Coverage.of(minutes(0, 100))))
        store.keep_flags([some_judged(store)])
        return store

    def test_kept_flags_come_in_place_of_context(self, kept: Store) -> None:
        for span in (minutes(10, 60), minutes(20, 30), minutes(35, 36)):
            found = kept.read(SERIES, span, context=3, flags_by=RULES)
            assert found.flags == FLAGS.clip(span)
            assert found.rows.equals(kept.read(SERIES, span).rows)
            assert kept.read_many([SERIES, OTHER], span, flags_by={SERIES: RULES})[SERIES].frame.equals(
                found.frame
            )
        assert kept.kept_flags(SERIES) == [(RULES, some_judged(kept).kept)]
        assert kept.kept_flags(OTHER) == []

    @pytest.mark.parametrize("span", [minutes(9, 60), minutes(10, 61), minutes(80, 90)])
    def test_other_bars_come_with_context(self, kept: Store, span: Span) -> None:
        found = kept.read(SERIES, span, context=3, flags_by=RULES)
        assert found.flags is None
        assert found.first == 3

    def test_other_rules_and_earlier_commits_come_with_context(self, kept: Store) -> None:
        assert kept.read(SERIES, minutes(20, 30), context=3, flags_by=b"other").flags is None
        assert kept.read(SERIES, minutes(20, 30), context=3).flags is None
        now = kept.newest().as_of
        assert kept.read(SERIES, minutes(20, 30), context=3, flags_by=RULES, as_of=now).flags is None

    @pytest.mark.parametrize(
        ("first", "last", "are_kept"), [(0, 5, True), (4, 6, False), (64, 65, False), (65, 70, True)]
    )
    def test_a_commit_within_reach_makes_them_void(
        self, kept: Store, first: int, last: int, are_kept: bool
    ) -> None:
        again = some_bars(first, last - first, price=7.0)
        kept.commit(SERIES, write(again, answered=Coverage.of(minutes(first, last))))
        assert (kept.read(SERIES, minutes(10, 60), flags_by=RULES).flags is not None) is are_kept
        assert len(kept.kept_flags(SERIES)) == are_kept

    def test_a_commit_together_with_others_makes_them_void(self, kept: Store) -> None:
        for first in (100, 64):
            assert len(kept.kept_flags(SERIES)) == 1
            one = write(some_bars(first, 1, price=7.0), answered=Coverage.of(minutes(first, first + 1)))
            kept.commit_many({OTHER: one, SERIES: one})
        assert kept.kept_flags(SERIES) == []
        kept.keep_flags([some_judged(kept, minutes(90, 101), minutes(80, 103))])
        one = write(some_bars(102, 1), answered=Coverage.of(minutes(102, 103)))
        kept.commit_many({OTHER: one, SERIES: one})
        assert kept.kept_flags(SERIES) == []

    def test_answers_retractions_and_declarations_make_them_void(self, kept: Store) -> None:
        kept.commit(SERIES, Write("another", 2, answered=Coverage.of(minutes(62, 63))))
        assert kept.kept_flags(SERIES) == []
        kept.keep_flags([some_judged(kept)])
        kept.retract(SERIES, minutes(5, 6), reason="a trial")
        assert kept.kept_flags(SERIES) == []
        kept.keep_flags([some_judged(kept)])
        kept.declare(SERIES, SeriesFacts(has_volume=True))
        assert kept.kept_flags(SERIES) == []

    def test_what_changes_nothing_and_other_series_leave_them(self, kept: Store) -> None:
        kept.commit(SERIES, write(some_bars(0, 100), answered=Coverage.of(minutes(0, 100))))
        kept.commit(OTHER, write(some_bars(0, 100), answered=Coverage.of(minutes(0, 100))))
        assert len(kept.kept_flags(SERIES)) == 1

    def test_flags_found_before_a_commit_within_reach_are_not_kept(self, store: Store) -> None:
        store.commit(SERIES, write(some_bars(0, 100), answered=Coverage.of(minutes(0, 100))))
        found = some_judged(store)
        store.commit(SERIES, write(some_bars(64, 1, price=7.0), answered=Coverage.of(minutes(64, 65))))
        store.keep_flags([found])
        assert store.kept_flags(SERIES) == []
        store.keep_flags([found._replace(kept=found.kept._replace(reach=minutes(5, 64)))])
        assert len(store.kept_flags(SERIES)) == 1

    def test_flags_of_one_stretch_become_one_where_they_meet(self, kept: Store) -> None:
        kept.keep_flags([some_judged(kept, minutes(60, 80), minutes(55, 85))])
        ((_, one),) = kept.kept_flags(SERIES)
        assert one == KeptFlags(minutes(10, 80), minutes(5, 85), FLAGS)
        kept.keep_flags([some_judged(kept, minutes(90, 95), minutes(85, 100))])
        assert kept.kept_flags(SERIES) == [(RULES, one)]

    def test_no_flags_at_all_are_kept_as_well(self, store: Store) -> None:
        store.commit(SERIES, write(some_bars(0, 100), answered=Coverage.of(minutes(0, 100))))
        found = some_judged(store)
        store.keep_flags([found._replace(kept=found.kept._replace(flags=EMPTY_FLAGS))])
        assert store.read(SERIES, minutes(20, 30), flags_by=RULES).flags is EMPTY_FLAGS
