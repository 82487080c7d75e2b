"""Sets of instants as sorted, disjoint spans, and their algebra.

Everything is int64 nanoseconds since 1970-01-01 UTC; every span is half-open, `[start, end)`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from qmtl.foundation.html import table, title
from qmtl.foundation.instants import Span as Span
from qmtl.foundation.instants import iso
from qmtl.foundation.pickled import pickled
from qmtl.foundation.words import counted

Int64Array = npt.NDArray[np.int64]


class Coverage:
    """A set of instants: spans that are sorted, disjoint, not touching and not empty, from the start.

    `a | b`, `a & b` and `a - b` are the set operations, each in O(n log n) numpy passes. Immutable,
    hashable and comparable. `starts` and `ends` are read-only int64 arrays of equal length.
    """

    __slots__ = ("_spans", "ends", "starts")

    starts: Int64Array
    ends: Int64Array

    def __init__(self, spans: Iterable[tuple[int, int]] = ()) -> None:
        pairs = list(spans)
        if not pairs:
            self._adopt(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))
            return
        bounds = np.array(pairs, dtype=np.int64).reshape(len(pairs), 2)
        if (bounds[:, 0] > bounds[:, 1]).any():
            bad = pairs[int(np.argmax(bounds[:, 0] > bounds[:, 1]))]
            raise ValueError(f"a span cannot end before it starts: {iso(bad[0])} > {iso(bad[1])}")
        self._adopt(*_union(bounds[:, 0], bounds[:, 1]))

    @classmethod
    def of(cls, *spans: tuple[int, int]) -> Coverage:
        """`Coverage.of(Span(a, b), Span(c, d))`."""
        if len(spans) == 1 and isinstance(spans[0], Span) and not spans[0].is_empty:
            # The commonest set of all, made on every fetch, keeps the laws as it is.
            self = cls._normal(np.array(spans[0][:1], dtype=np.int64), np.array(spans[0][1:], dtype=np.int64))
            self._spans = spans  # type: ignore[assignment]  # a 1-tuple of Span, as was just tested
            return self
        return cls(spans)

    @classmethod
    def from_arrays(cls, starts: npt.ArrayLike, ends: npt.ArrayLike) -> Coverage:
        """Any spans, in any order, overlapping or not, as two int64 arrays of equal length."""
        first, last = np.asarray(starts, dtype=np.int64), np.asarray(ends, dtype=np.int64)
        if first.shape != last.shape or first.ndim != 1:
            raise ValueError(f"starts {first.shape} and ends {last.shape} must be equally long vectors")
        if (first > last).any():
            raise ValueError("a span cannot end before it starts")
        return cls._normal(*_union(first, last))

    @classmethod
    def _normal(cls, starts: Int64Array, ends: Int64Array) -> Coverage:
        """From arrays that already keep the laws."""
        self = object.__new__(cls)
        self._adopt(starts, ends)
        return self

    def _adopt(self, starts: Int64Array, ends: Int64Array) -> None:
        starts.flags.writeable = False
        ends.flags.writeable = False
        self.starts = starts
        self.ends = ends
        self._spans: tuple[Span, ...] | None = None

    @property
    def spans(self) -> tuple[Span, ...]:
        """The spans in order of time."""
        if self._spans is None:
            self._spans = tuple(map(Span, self.starts.tolist(), self.ends.tolist()))
        return self._spans

    @property
    def hull(self) -> Span:
        """From the first instant to the last; `Span(0, 0)` if empty."""
        if self._spans is not None and len(self._spans) == 1:
            return self._spans[0]
        return Span(self.starts[0], self.ends[-1]) if self else Span(0, 0)

    @property
    def length(self) -> int:
        """Nanoseconds covered."""
        # Unsigned, because from 1677 to 2262 is more than int64 can count.
        return int((self.ends - self.starts).view(np.uint64).sum())

    def __or__(self, other: Coverage) -> Coverage:
        # To know the empty set by sight is quicker than to count it, and most answers join it several times.
        if other is EMPTY or not other:
            return self
        if not self:
            return other
        return Coverage._normal(
            *_union(np.concatenate([self.starts, other.starts]), np.concatenate([self.ends, other.ends]))
        )

    def __and__(self, other: Coverage) -> Coverage:
        if not self or not other:
            return EMPTY
        # Two disjoint sets overlap at most twice at any instant, so the overlap opens at each start that
        # comes before the previous end, once starts and ends are sorted apart.
        starts = np.sort(np.concatenate([self.starts, other.starts]), kind="stable")[1:]
        ends = np.sort(np.concatenate([self.ends, other.ends]), kind="stable")[:-1]
        keep = starts < ends
        return Coverage._normal(*_join_touching(starts[keep], ends[keep]))

    def __sub__(self, other: Coverage) -> Coverage:
        if other is EMPTY or not self or not other:
            return self
        low = min(self.starts[0], other.starts[0])
        high = max(self.ends[-1], other.ends[-1])
        gaps_start = np.concatenate([[low], other.ends])
        gaps_end = np.concatenate([other.starts, [high]])
        keep = gaps_start < gaps_end
        return self & Coverage._normal(gaps_start[keep], gaps_end[keep])

    def contains(self, span: Span) -> bool:
        """Whether every instant of `span` is covered."""
        if span.is_empty:
            return True
        i = int(np.searchsorted(self.starts, span.start, side="right")) - 1
        return i >= 0 and span.end <= int(self.ends[i])

    def holds(self, instants: Int64Array) -> npt.NDArray[np.bool_]:
        """For each instant (int64 array of any order), whether it is covered."""
        if not self:
            return np.zeros(len(instants), dtype=bool)
        i = np.searchsorted(self.starts, instants, side="right") - 1
        return (i >= 0) & (instants < self.ends[np.maximum(i, 0)])

    def clip(self, span: Span) -> Coverage:
        """The part inside `span`."""
        if self is EMPTY or not self or (span.start <= self.starts[0] and self.ends[-1] <= span.end):
            return self
        first = int(np.searchsorted(self.ends, span.start, side="right"))
        last = int(np.searchsorted(self.starts, span.end, side="left"))
        if first >= last or span.is_empty:
            return EMPTY
        starts, ends = self.starts[first:last].copy(), self.ends[first:last].copy()
        starts[0] = max(int(starts[0]), span.start)
        ends[-1] = min(int(ends[-1]), span.end)
        return Coverage._normal(starts, ends)

    def __bool__(self) -> bool:
        return len(self.starts) > 0

    def __len__(self) -> int:
        return len(self.starts)

    def __iter__(self) -> Iterator[Span]:
        return iter(self.spans)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Coverage):
            return NotImplemented
        if self._spans is not None and other._spans is not None:  # as of the single span of most answers
            return self._spans == other._spans
        return np.array_equal(self.starts, other.starts) and np.array_equal(self.ends, other.ends)

    def __hash__(self) -> int:
        return hash((self.starts.tobytes(), self.ends.tobytes()))

    def __repr__(self) -> str:
        return f"Coverage({spans_text(self)})"

    def _repr_html_(self) -> str:
        rows = [
            (iso(start), iso(end))
            for start, end in zip(self.starts[:_LISTED].tolist(), self.ends[:_LISTED].tolist(), strict=True)
        ]
        more = len(self) - len(rows)
        left = title(f"and {more:,} more, up to {iso(self.hull.end)}") if more else ""
        return title(counted(len(self), "span")) + table(("start", "end"), rows) + left

    def __reduce__(self) -> tuple[Any, ...]:
        return pickled(Coverage.from_arrays, self.starts, self.ends)


# Spans of a coverage that a page lists.
_LISTED = 20


def spans_text(cells: Coverage) -> str:
    """The spans, where one line has room for them; else how many there are, and within which range."""
    if len(cells) <= 2:
        text = " ".join(map(str, cells.spans))
        if len(text) <= _LINE:
            return text
    return f"{counted(len(cells), 'span')} in {cells.hull}"


# Two spans of whole days or minutes fit; texts of a receipt stand behind a name of a few characters.
_LINE = 80


def _union(starts: Int64Array, ends: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Sorted, disjoint, non-touching spans of the same instants; empty spans vanish."""
    filled = starts < ends
    # A stable sort of two runs that are each sorted is a merge: linear, where quicksort is not.
    first = np.sort(starts[filled], kind="stable")
    last = np.sort(ends[filled], kind="stable")
    return _join_touching(first, last)


def _join_touching(first: Int64Array, last: Int64Array) -> tuple[Int64Array, Int64Array]:
    # With starts and ends sorted apart, a new run begins where the next start lies behind all ends so far.
    apart = first[1:] > last[:-1]
    return (
        first[np.concatenate([[True], apart])] if len(first) else first.copy(),
        last[np.concatenate([apart, [True]])] if len(last) else last.copy(),
    )


EMPTY = Coverage()
