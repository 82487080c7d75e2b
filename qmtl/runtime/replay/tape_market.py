"""What is known of prices at one moment, of the series of a run."""

from __future__ import annotations

from collections.abc import Mapping

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.series import SeriesId
from qmtl.runtime.replay.tape import Tape


class TapeMarket:
    """What is known at `now`."""

    def __init__(self, tapes: Mapping[SeriesId, Tape]) -> None:
        # By text, whose hash Python keeps, as a portfolio does: this is asked with each order.
        self._tapes = {series.text: tape for series, tape in tapes.items()}
        self.now = 0

    def last_close(self, series: SeriesId) -> float:
        return self._tape(series).last_close(self.now)

    def next_open(self, series: SeriesId, since: int) -> tuple[int, float] | None:
        return self._tape(series).next_open(since)

    def _tape(self, series: SeriesId) -> Tape:
        try:
            return self._tapes[series.text]
        except KeyError:
            known = ", ".join(list(self._tapes)[:5])
            raise InvalidRequestError(
                f"{series} is no series of the strategy's inputs",
                next_step=f"use one of {known}" + (", ..." if len(self._tapes) > 5 else ""),
            ) from None
