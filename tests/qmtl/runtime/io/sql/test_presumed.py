"""What a store presumes between its commits is what a store would find that asks before each of them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from itertools import count

from hypothesis import given, settings
from hypothesis import strategies as st

from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.runtime.io.sql.appends import Append, Before, Counts, Small, append
from qmtl.runtime.io.sql.presumed import Made, Presumptions
from qmtl.runtime.io.sql.transaction import MANY_HOT
from qmtl.runtime.io.store.rows import from_frame
from qmtl.runtime.io.store.values import CoverageRecord, Point, Write
from qmtl.runtime.testing.store_suites.bars import STEP, minutes, some_bars

NEW = Before(1, 0, [], {}, None, is_last=True)
NAMES = [SeriesId.parse(f"ohlcv:presumed:S{number}:1m") for number in range(2)]


def bar(at: int, *, source: str = "feed", first: int | None = None, **more: object) -> Write:
    """A bar that covers the cells from `first` on, else its own."""
    cells = Coverage.of(minutes(at if first is None else first, at + 1))
    return Write(source, 40, some_bars(at, 1), cells, **more)  # type: ignore[arg-type]  # fields by name


def small(write: Write, series: SeriesId = NAMES[0]) -> Small:
    return Small(series, write, from_frame(write.frame, series))


def appended(one: Small, before: Before) -> Append:
    made = append(*one, before)
    assert made is not None
    return made


def follow(presumptions: Presumptions, made: Append, number: int) -> None:
    """The commit that comes next to that of a number."""
    tx = number + 1
    presumptions.follow({NAMES[0]: Made(made, tx)}, Point(number, number), Point(tx, tx))


def follow_two(presumptions: Presumptions, before: Before = NEW) -> None:
    """Two commits in a row, after which the third is presumed."""
    for number in range(2):
        made = appended(small(bar(number)), before)
        follow(presumptions, made, number)
        before = before._replace(hot=before.hot + 1, records=made.added, since=[number + 1])


def test_nothing_is_presumed_until_two_commits_came_one_after_the_other() -> None:
    presumptions = Presumptions()
    third = small(bar(2))
    made = {NAMES[0]: Made(appended(small(bar(0)), NEW), 7)}
    assert presumptions.append(third) is None
    presumptions.follow(made, Point(6, 60), Point(7, 70))
    assert presumptions.append(third) is None
    presumptions.follow(made, Point(8, 80), Point(9, 90))
    assert presumptions.append(third) is None, "somebody made commit 8"
    presumptions.follow(made, Point(9, 90), Point(10, 100))
    for found in (presumptions.append(third), presumptions.append_all([third])):
        assert found is not None
        assert found.newest == (10, 100)


def test_what_was_left_is_extended_and_other_series_are_not_known() -> None:
    presumptions = Presumptions()
    follow_two(presumptions)
    third = small(bar(2))
    found = presumptions.append(third)
    assert found is not None
    made = found.made[NAMES[0]]
    (old,), (new,) = made.retired, made.added
    assert (old.start, old.end) == (0, 2 * STEP)
    assert (new.start, new.end) == (0, 3 * STEP)
    assert (made.number, made.before.hot) == (1, 2)
    assert made.covered == made.touched == Span(2 * STEP, 3 * STEP)
    assert presumptions.append(small(bar(2), NAMES[1])) is None
    assert presumptions.append_all([third, small(bar(2), NAMES[1])]) is None
    assert presumptions.append_all([]) is None
    presumptions.forget()
    assert presumptions.append(third) is None


def test_fences_facts_and_what_changes_nothing_are_asked_for() -> None:
    presumptions = Presumptions()
    follow_two(presumptions)
    declared = bar(2, declared=SeriesFacts(calendar="24x7"))
    for write in (bar(2, fences={0: 1}), declared, Write("feed", 40)):
        assert presumptions.append(small(write)) is None
        assert presumptions.append_all([small(write)]) is None


def test_only_what_lies_behind_all_else_goes_without_a_look_at_its_place() -> None:
    presumptions = Presumptions()
    unknown = Before(1, 0, [], {}, None, is_last=False)
    follow_two(presumptions, unknown)
    assert presumptions.append(small(bar(2))) is not None
    assert presumptions.append_all([small(bar(2))]) is None, "nobody has looked what lies behind"
    presumptions.forget()
    follow_two(presumptions)
    for write in (bar(5), bar(2), Write("feed", 40, answered=Coverage.of(minutes(1, 3)))):
        assert presumptions.append_all([small(write)]) is not None
    for write in (bar(1), bar(2, first=0), Write("feed", 40, some_bars(2, 1))):
        assert presumptions.append_all([small(write)]) is None


def test_the_child_of_a_fork_waits_for_no_thread_of_its_parent() -> None:
    presumptions = Presumptions()
    follow_two(presumptions)
    with presumptions._lock:
        child = os.fork()
        if not child:
            try:
                os._exit(0 if presumptions.append(small(bar(2))) is None else 1)
            finally:
                os._exit(2)
    deadline = time.monotonic() + 60
    while not (ended := os.waitpid(child, os.WNOHANG))[0] and time.monotonic() < deadline:
        time.sleep(0.01)
    if not ended[0]:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert ended == (child, 0)
    assert presumptions.append(small(bar(2))) is not None


def test_rows_are_counted_so_that_they_are_folded_in_time() -> None:
    presumptions, before = Presumptions(), Before(1, MANY_HOT - 1, [], {}, None, True)
    for number, at in enumerate((61, 62)):
        made = appended(small(bar(at)), before)
        follow(presumptions, made, number)
        before = before._replace(hot=before.hot + 1)
    assert presumptions.append(small(bar(128))) is None, "one in 64 counts them"
    assert presumptions.append(small(bar(129))) is not None


class Model:
    """A store that keeps all rows and records of two series, and looks through them before each write."""

    def __init__(self) -> None:
        self.newest = Point(0, 0)
        self.stamps: dict[SeriesId, set[int]] = {name: set() for name in NAMES}
        self.versions = dict.fromkeys(NAMES, 0)
        # Since which commit there is each.
        self.records: dict[SeriesId, dict[CoverageRecord, int]] = {name: {} for name in NAMES}

    def touching(self, one: Small) -> list[CoverageRecord]:
        start, end = one.write.covered.hull
        records = sorted(self.records[one.series])
        return [record for record in records if record.end >= start and record.start <= end]

    def is_free(self, one: Small) -> bool:
        return not self.stamps[one.series] & set(one.rows.ts.tolist())

    def append(self, one: Small) -> Append | None:
        """What the write adds; None if a row lies in its way."""
        end = one.write.covered.hull.end
        is_last = max(self.stamps[one.series], default=-1) <= one.rows.ts[-1] and all(
            record.end <= end for record in self.records[one.series]
        )
        touched, records = self.touching(one), self.records[one.series]
        number, hot = NAMES.index(one.series) + 1, len(self.stamps[one.series])
        counts = Counts(0, len(records), self.versions[one.series])
        since = [records[record] for record in touched]
        before = Before(number, hot, touched, {}, None, bool(is_last), counts, since)
        return append(*one, before) if self.is_free(one) else None

    def keep(self, made: Mapping[SeriesId, Append]) -> tuple[Point, Point]:
        """The commits before and after it."""
        before = self.newest
        for series, one in made.items():
            self.stamps[series] |= set(one.rows.ts.tolist())
            self.versions[series] += one.rows.size + len(one.added)
            self.newest = Point(self.newest.tx + 1, self.newest.as_of + 1)
            for record in one.retired:
                del self.records[series][record]
            self.records[series] |= dict.fromkeys(one.added, self.newest.tx)
        return before, self.newest


def same(one: Append, other: Append) -> bool:
    return left_by(one) == left_by(other)


def left_by(one: Append) -> object:
    since = sorted(zip(one.before.records, one.before.since, strict=True))
    return sorted(one.retired), since, one.added, one.touched, one.hot, one.counts


# Where bars go, relative to the last one; how far back they cover; by which source.
places = st.tuples(st.sampled_from([1, 1, 1, 2, 4, -1, -3]), st.integers(0, 2), st.sampled_from("aab"))


@given(st.lists(st.tuples(st.sampled_from(["first", "second", "both", "other"]), places), max_size=40))
@settings(max_examples=300, deadline=None)
def test_what_is_presumed_is_what_a_look_would_find(
    drawn: list[tuple[str, tuple[int, int, str]]],
) -> None:
    presumptions, model, at = Presumptions(), Model(), 10
    for who, (ahead, back, source) in drawn:
        at = max(0, at + ahead)
        write = bar(at, source=source, first=max(0, at - back))
        names = {"both": NAMES, "second": NAMES[1:]}.get(who, NAMES[:1])
        given_now = [small(write, name) for name in names]
        looked = {one.series: model.append(one) for one in given_now}
        # What was presumed is followed, as a store does; else what was found.
        followed: dict[SeriesId, Append] | None = None
        if (together := presumptions.append_all(given_now)) is not None and together.newest == model.newest:
            for series, made in together.made.items():
                truth = looked[series]
                assert truth is not None
                assert same(made, truth)
            followed = together.made
        single = presumptions.append(given_now[0])
        if single is not None and single.newest == model.newest and model.is_free(given_now[0]):
            made, truth = single.made[names[0]], looked[names[0]]
            # As the server compares: by how many there are.
            if len(made.before.records) == len(model.touching(given_now[0])):
                assert truth is not None
                assert same(made, truth)
                followed = single.made if len(names) == 1 else followed
        appended_all = {series: one for series, one in looked.items() if one is not None}
        if len(appended_all) < len(looked):
            presumptions.forget()
            continue
        before, after = model.keep(appended_all)
        if who != "other":
            tx = count(before.tx + 1)
            kept = {series: Made(one, next(tx)) for series, one in (followed or appended_all).items()}
            presumptions.follow(kept, before, after)
