"""What a store believes to be there without asking: it holds as long as nobody else commits."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from qmtl.foundation.facts import NOTHING_DECLARED
from qmtl.foundation.series import SeriesId
from qmtl.runtime.io.sql import transaction
from qmtl.runtime.io.sql.appends import Append, Before, Counts, Small, append
from qmtl.runtime.io.store.coverage_records import grown
from qmtl.runtime.io.store.values import CoverageRecord, Point

# So many series are followed; more than that begin anew.
_MOST = 32_768


class Presumed(NamedTuple):
    """Writes that only append if `newest` is the newest commit, and the series are as they were left."""

    newest: Point
    made: dict[SeriesId, Append]


class Made(NamedTuple):
    """A write that was appended, and its commit."""

    append: Append
    tx: int


class Presumptions:
    """What one store has left behind where it was the last to commit. Used from any thread.

    Nothing here is proof: whoever writes by it has to find out, with others locked out, whether the newest
    commit is still the same.
    """

    def __init__(self) -> None:
        self.begin_anew()
        _all.add(self)

    def begin_anew(self) -> None:
        """As `forget`, in the child of a fork, where the lock may be that of a thread which is not there."""
        self._lock = threading.Lock()
        self.forget()

    def forget(self) -> None:
        """Somebody else commits as well, or this store in another way."""
        with self._lock:
            self._newest, self._is_alone = Point(0, 0), False
            self._last: dict[SeriesId, Made] = {}

    def was_last(self, newest: Point) -> bool:
        """Whether the newest commit is one of those that were followed."""
        return newest == self._newest

    def follow(
        self, made: Mapping[SeriesId, Made], before: Point, after: Point, *, others: Iterable[SeriesId] = ()
    ) -> None:
        """Writes were made by the commits that came next to `before`, the last of which is `after`.

        made: those that were appended. others: series that were written to in another way.
        """
        with self._lock:
            # Two times in a row are a sign that the third will follow them.
            self._is_alone = before == self._newest
            if not self._is_alone or len(self._last) >= _MOST:
                self._last = {}
            self._newest = after
            self._last.update(made)
            for series in others:
                self._last.pop(series, None)

    def append(self, one: Small) -> Presumed | None:
        """What a write adds; None where it is known that it does more, or nothing is known.

        What lies behind it has to be found out as well: rows, and coverage records that it would touch.
        """
        return self._presumed([one], may_lie_before=True)

    def append_all(self, small: Sequence[Small]) -> Presumed | None:
        """What writes add behind all that their series have; None where that is not known of all of them."""
        return self._presumed(small, may_lie_before=False)

    def _presumed(self, small: Sequence[Small], *, may_lie_before: bool) -> Presumed | None:
        found = self._following(small)
        if found is None:
            return None
        made = {}
        for one, last in found.pairs:
            added = _next_bar(one, last)
            if added is None:
                is_behind = _is_behind(one, last.append)
                added = _append(one, last, is_last=is_behind) if is_behind or may_lie_before else None
            if added is None:
                return None
            made[one.series] = added
        return Presumed(found.newest, made)

    def _following(self, small: Sequence[Small]) -> _Following | None:
        """Writes, each with the last one that was appended to its series."""
        with self._lock:
            if not self._is_alone:
                return None
            last = [self._last.get(one.series) for one in small]
            newest = self._newest
        pairs = [(one, made) for one, made in zip(small, last, strict=True) if made is not None]
        return _Following(newest, pairs) if pairs and len(pairs) == len(small) else None


_all: weakref.WeakSet[Presumptions] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for presumptions in list(_all):
        presumptions.begin_anew()


os.register_at_fork(after_in_child=_after_fork_in_child)


class _Following(NamedTuple):
    newest: Point
    pairs: list[tuple[Small, Made]]


def _next_bar(one: Small, last: Made) -> Append | None:
    """As `append`, of a bar that closes next, which makes the record of the last one longer; None for others.

    Most writes of many series are such bars, and this takes them a third of the time.
    """
    write, rows = one.write, one.rows
    made, tx = last
    before, added = made.before, made.added
    if (
        write.fences
        or write.declared is not NOTHING_DECLARED
        or len(rows.ts) != 1
        or made.hot >= transaction.MANY_HOT
    ):
        return None
    if not before.is_last or not len(made.rows.ts) or len(added) != 1 or made.retired != before.records:
        return None
    longer = grown(added[0], write)
    if longer is None:
        return None
    span, ts = write.answered.hull, rows.ts.item(0)
    if ts < max(span.start, made.touched.end) or ts + one.series.timeframe.step > span.end:
        return None
    chunks, answers, versions = made.counts
    left = Before(made.number, made.hot, added, before.fences, before.facts, True, made.counts, [tx])
    counts = Counts(chunks, answers, versions + 2)
    return Append(
        made.node,
        made.number,
        left,
        rows,
        added,
        [longer],
        write.delivered_at,
        span,
        span,
        made.hot + 1,
        counts,
    )


def _is_behind(one: Small, last: Append) -> bool:
    """Whether a write lies behind all that was there when the last one had been made."""
    if not (last.before.is_last and len(last.rows.ts)) or last.covered.is_empty:
        return False
    start, end = one.write.covered.hull
    if start == end or start < last.covered.start:
        return False
    return not len(one.rows.ts) or one.rows.ts.item(0) >= last.touched.end


def _append(one: Small, last: Made, *, is_last: bool) -> Append | None:
    if one.write.fences:
        return None
    made = last.append
    _, _, _, fences, facts, *_ = made.before
    records, since = _touched_by(one, last)
    left = Before(made.number, made.hot, records, fences, facts, is_last, made.counts, since)
    return append(*one, left)


def _touched_by(one: Small, last: Made) -> tuple[list[CoverageRecord], Sequence[int]]:
    """The coverage records that a write touches, of those that were there after the last one; since when."""
    start, end = one.write.covered.hull
    made, tx = last
    before = made.before
    if start == end:
        return [], []
    if len(made.added) == 1 and made.retired == before.records and made.added[0].end == start:
        return made.added, [tx]  # most often
    left = [both for both in zip(before.records, before.since, strict=True) if both[0] not in made.retired]
    left += [(record, tx) for record in made.added]
    touched = sorted(both for both in left if both[0].end >= start and both[0].start <= end)
    return [record for record, _ in touched], [at for _, at in touched]
