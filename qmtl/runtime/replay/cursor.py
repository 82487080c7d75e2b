"""Where a moment stands among ascending times, if it mostly comes somewhat later than the one before."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence


class Cursor:
    """Remembers what it found last, and looks first where a grid without holes would have the next.

    times: int ns UTC, ascending. step: between two of them, mostly. To search a hundred thousand of them
    costs more than any other step of an order.
    """

    def __init__(self, times: Sequence[int], step: int) -> None:
        self._times, self._step = times, step
        self._found = 0

    def count(self, moment: int) -> int:
        """How many of the times are at or before a moment."""
        times, found = self._times, self._found
        if not found or moment < times[found - 1]:
            self._found = found = bisect_right(times, moment)
            return found
        likely = min(len(times), found + (moment - times[found - 1]) // self._step)
        if likely < len(times) and times[likely] <= moment:
            likely = bisect_right(times, moment, likely)
        elif times[likely - 1] > moment:
            likely = bisect_right(times, moment, found, likely)
        self._found = likely
        return likely
