"""Which series a worker leaves alone for a while: each rests longer the more often in a row it has failed.

Where many series fail and none succeeds, it is the vendor that fails, or the worker: then it takes nothing.
"""

from __future__ import annotations

# A series is left alone for 1 s after its first failure, for twice as long after each further, up to this.
LONGEST_S = 60.0
# So many are remembered; of more, those that rest longest from now on.
MOST = 1_000
# So many series may fail, and none succeed, before nothing is taken.
MANY = 4


class SeriesRests:
    """Of one worker, in seconds of one clock. What rests keeps nobody from work on other series."""

    def __init__(self) -> None:
        # By series: failures in a row, and the end of its rest.
        self._rests: dict[str, tuple[int, float]] = {}
        # The series that have failed since one has succeeded, and when the last of them did.
        self._in_a_row: set[str] = set()
        self._last = 0.0

    def failed(self, series: str, *, now: float) -> None:
        if len(self._in_a_row) < MOST:
            self._in_a_row.add(series)
        self._last = now
        failures = 1 + self._rests.pop(series, (0, 0.0))[0]
        self._rests[series] = failures, now + min(LONGEST_S, 2.0 ** min(failures - 1, 16))
        while len(self._rests) > MOST:
            del self._rests[min(self._rests, key=lambda one: self._rests[one][1])]

    def done(self, series: str) -> None:
        self._in_a_row.clear()
        self._rests.pop(series, None)

    def at(self, now: float) -> list[str]:
        """Those that rest."""
        return sorted(series for series, (_, until) in self._rests.items() if until > now)

    def pause_s(self, now: float) -> float:
        """How long nothing is to be taken: after many series 1 s, twice as long after each one more."""
        more = len(self._in_a_row) - MANY
        return 0.0 if more <= 0 else max(0.0, self._last + min(LONGEST_S, 2.0 ** min(more - 1, 16)) - now)
