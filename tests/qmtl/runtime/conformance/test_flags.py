"""Flags of a range, against sets of (rule, bar)."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.timeline import Coverage, Span
from qmtl.runtime.conformance.flags import EMPTY_FLAGS, Flags
from qmtl.runtime.conformance.rules import CODE_OF, RULE_IDS, SILENCE

RULES = ("temporal.off_grid", "quality.price_jump", "quality.stale_run")

found = st.dictionaries(st.sampled_from(RULES), st.sets(st.integers(0, 20), max_size=8))
cells = st.sets(st.integers(0, 20), max_size=6)


def coverage(instants: set[int]) -> Coverage:
    return Coverage((at, at + 1) for at in instants)


def make(
    by_rule: dict[str, set[int]], silent: set[int] = frozenset(), unchecked: set[int] = frozenset()
) -> Flags:
    return Flags.of(
        {rule: np.array(sorted(stamps), dtype=np.int64) for rule, stamps in by_rule.items()},
        {SILENCE: coverage(silent)},
        {SILENCE: coverage(unchecked)},
    )


def pairs(flags: Flags) -> list[tuple[int, str]]:
    return [(ts, RULE_IDS[code]) for ts, code in zip(flags.ts.tolist(), flags.codes.tolist(), strict=True)]


def expected(by_rule: dict[str, set[int]]) -> list[tuple[int, str]]:
    """By time, and of one bar in the order of the catalogue."""
    every = [(ts, rule) for rule, stamps in by_rule.items() for ts in stamps]
    return sorted(every, key=lambda pair: (pair[0], CODE_OF[pair[1]]))


@given(found, cells, cells)
def test_flags_are_sorted_by_time_then_by_rule(
    by_rule: dict[str, set[int]], silent: set[int], unchecked: set[int]
) -> None:
    flags = make(by_rule, silent, unchecked)
    assert pairs(flags) == expected(by_rule)
    assert flags.codes.dtype == np.int16
    assert len(flags) == sum(map(len, by_rule.values()))
    assert bool(flags) == bool(len(flags) or silent)
    assert (flags is EMPTY_FLAGS) == (not len(flags) and not silent and not unchecked)
    present = {rule for rule, stamps in by_rule.items() if stamps} | ({SILENCE} if silent else set())
    assert flags.rules() == tuple(rule for rule in RULE_IDS if rule in present)
    for rule in RULES:
        assert flags.stamps(rule).tolist() == sorted(by_rule.get(rule, set()))


@given(found, cells, cells, st.integers(0, 20), st.integers(0, 20))
def test_a_clip_keeps_what_opens_within(
    by_rule: dict[str, set[int]], silent: set[int], unchecked: set[int], one: int, two: int
) -> None:
    first, end = min(one, two), max(one, two)
    inside = set(range(first, end))
    clipped = make(by_rule, silent, unchecked).clip(Span(first, end))
    assert clipped == make(
        {rule: stamps & inside for rule, stamps in by_rule.items()}, silent & inside, unchecked & inside
    )


@given(found, cells, cells, st.integers(-30, 30))
def test_moved_flags_are_those_of_later_bars(
    by_rule: dict[str, set[int]], silent: set[int], unchecked: set[int], by: int
) -> None:
    def later(instants: set[int]) -> set[int]:
        return {at + by for at in instants}

    moved = make(by_rule, silent, unchecked).moved(by)
    assert moved == make({rule: later(ts) for rule, ts in by_rule.items()}, later(silent), later(unchecked))
    assert (moved is EMPTY_FLAGS) == (make(by_rule, silent, unchecked) is EMPTY_FLAGS)


@given(found, cells, cells, st.lists(st.integers(0, 20), max_size=3))
def test_parts_that_follow_one_another_join_to_the_whole(
    by_rule: dict[str, set[int]], silent: set[int], unchecked: set[int], cuts: list[int]
) -> None:
    whole = make(by_rule, silent, unchecked)
    edges = [0, *sorted(cuts), 21]
    parts = [whole.clip(Span(a, b)) for a, b in itertools.pairwise(edges)]
    assert Flags.joined(parts) == whole


def test_nothing_is_one_object() -> None:
    assert Flags.of({}) is EMPTY_FLAGS
    assert Flags.of({"quality.price_jump": np.array([], dtype=np.int64)}) is EMPTY_FLAGS
    assert Flags.joined([EMPTY_FLAGS, EMPTY_FLAGS]) is EMPTY_FLAGS
    assert make({RULES[0]: {3}}).clip(Span(4, 9)) is EMPTY_FLAGS
    one = make({RULES[0]: {3}})
    assert Flags.joined([EMPTY_FLAGS, one]) is one


def test_what_could_not_be_checked_is_no_flag() -> None:
    flags = make({}, unchecked={3})
    assert not flags
    assert flags.rules() == ()
    assert flags.unchecked == {SILENCE: coverage({3})}


def test_only_some_flags_with_other_spans() -> None:
    flags = make({RULES[0]: {1, 2}, RULES[1]: {2}}, silent={5}, unchecked={7})
    kept = flags.filter(np.array([True, False, True]), {SILENCE: Coverage()})
    assert pairs(kept) == [(1, RULES[0]), (2, RULES[1])]
    assert dict(kept.spans) == {}
    assert kept.unchecked == flags.unchecked


def test_flags_differ_by_each_of_their_parts() -> None:
    base = make({RULES[0]: {1}}, silent={5}, unchecked={7})
    assert base == make({RULES[0]: {1}}, silent={5}, unchecked={7})
    for other in (
        make({RULES[0]: {2}}, silent={5}, unchecked={7}),
        make({RULES[1]: {1}}, silent={5}, unchecked={7}),
        make({RULES[0]: {1}}, silent={6}, unchecked={7}),
        make({RULES[0]: {1}}, silent={5}, unchecked={8}),
        "flags",
    ):
        assert base != other
    with pytest.raises(TypeError, match="unhashable"):
        hash(base)


def test_the_text_counts_bars_and_spans() -> None:
    assert repr(EMPTY_FLAGS) == "Flags(none)"
    flags = make({"quality.price_jump": set(range(1200))}, silent={1, 2, 9})
    assert repr(flags) == "Flags(temporal.silence in 2 spans, quality.price_jump 1,200)"
