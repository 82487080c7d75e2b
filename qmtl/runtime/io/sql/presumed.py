"""What a store believes to be there without asking: it holds as long as nobody else commits."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from qmtl.foundation.series import SeriesId
from qmtl.runtime.io.sql.appends import Append, Before, Small, append
from qmtl.runtime.io.store.values import CoverageRecord, Point

# So many series are followed; more than that begin anew.
_MOST = 32_768


class Presumed(NamedTuple):
    """Writes that only append if `newest` is the newest commit, and the series are as they were left."""

    newest: Point
    made: dict[SeriesId, Append]


class Presumptions:
    """What one store has left behind where it was the last to commit. Used from any thread.

    Nothing here is proof: whoever writes by it has to find out, with others locked out, whether the newest
    commit is still the same.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.forget()

    def forget(self) -> None:
        """Somebody else commits as well, or this store in another way."""
        with self._lock:
            self._newest, self._is_alone = Point(0, 0), False
            self._last: dict[SeriesId, Append] = {}

    def follow(self, made: Mapping[SeriesId, Append], before: Point, after: Point) -> None:
        """Writes were appended by the commits that came next to `before`, the last of which is `after`."""
        with self._lock:
            # Two times in a row are a sign that the third will follow them.
            self._is_alone = before == self._newest
            if not self._is_alone or len(self._last) >= _MOST:
                self._last = {}
            self._newest = after
            self._last.update(made)

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
            is_behind = _is_behind(one, last)
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


class _Following(NamedTuple):
    newest: Point
    pairs: list[tuple[Small, Append]]


def _is_behind(one: Small, last: Append) -> bool:
    """Whether a write lies behind all that was there when the last one had been made."""
    covered = one.write.covered
    if not (last.before.is_last and last.rows.size and covered) or last.covered.is_empty:
        return False
    if covered.hull.start < last.covered.start:
        return False
    return not one.rows.size or one.rows.ts.item(0) >= last.touched.end


def _append(one: Small, last: Append, *, is_last: bool) -> Append | None:
    if one.write.fences:
        return None
    number, hot, _, fences, facts, _ = last.before
    left = Before(number, hot + last.rows.size, _touched_by(one, last), fences, facts, is_last)
    return append(*one, left)


def _touched_by(one: Small, last: Append) -> list[CoverageRecord]:
    """The coverage records that a write touches, of those that were there after the last one."""
    start, end = one.write.covered.hull
    if start == end:
        return []
    left = [record for record in last.before.records if record not in last.retired]
    return sorted([record for record in [*left, *last.added] if record.end >= start and record.start <= end])
