"""When a program that has ended is started again, and when no more."""

from __future__ import annotations

# After so many runs in a row that were short: with the pauses between them some ten seconds.
MOST_SHORT_RUNS = 5
SHORT_RUN_S = 60.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 8.0


class Restarts:
    """A run that was not short makes all that was before it forgotten."""

    def __init__(self) -> None:
        self.short_runs = 0

    def pause_after(self, run_s: float) -> float | None:
        """How long to wait after a run of so many seconds; None: it is not started any more."""
        self.short_runs = self.short_runs + 1 if run_s < SHORT_RUN_S else 0
        if self.short_runs >= MOST_SHORT_RUNS:
            return None
        return float(min(_FIRST_PAUSE_S * 2 ** max(0, self.short_runs - 1), _LONGEST_PAUSE_S))
