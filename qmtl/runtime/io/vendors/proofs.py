"""What a page of an exchange proves.

Exchanges are asked alike: at most `limit` bars from `since` on, oldest first. What comes back is read with
care, because they differ in what they do when there is little to tell, and all of them fail sometimes:

- Rows prove themselves, and that nothing was traded between them. A short page is not the end: the next
  question begins behind its last row.
- Nothing at all, or nothing within a page's length of where it was asked for, may be a slip. It is asked
  again, and believed when two answers agree. Rows that lie behind a silence prove all of it; a page without
  rows proves only its own length, since some exchanges look no further.
- A page that begins late, is full, and ends at the present was cut at its older end (some exchanges keep a
  few hundred bars only, and ignore `since`). It proves nothing about what lies before it.
- Where a question meets silence first, it may lie before the listing. Asked from the epoch on, many exchanges
  begin with their first bar of all. If that is the bar with which the silence ends, the exchange has nothing
  before it: that is an absence, not a silence. Exchanges that begin elsewhere prove nothing by it.
"""

from __future__ import annotations

from dataclasses import dataclass

from qmtl.foundation.series import Timeframe
from qmtl.foundation.timeline import Int64Array, Span


@dataclass(frozen=True, slots=True)
class Question:
    """`wanted` lies on the grid and has closed; `limit` rows are asked for, of `most` that can be."""

    wanted: Span
    limit: int
    most: int
    timeframe: Timeframe

    @property
    def window(self) -> Span:
        """Where the answer must lie if the exchange looks no further than it has to."""
        return Span(self.wanted.start, self.wanted.start + self.limit * self.timeframe.step)


@dataclass(frozen=True, slots=True)
class Proof:
    """The exchange spoke for `answered`; go on at `go_on_at`. What lies between stays unknown."""

    answered: Span
    go_on_at: int


@dataclass(frozen=True, slots=True)
class AskAgain:
    """Not enough to go by: ask for `limit` rows. `seen` is the first row of this answer, or None."""

    limit: int
    seen: int | None


def question(wanted: Span, most: int, timeframe: Timeframe, before: AskAgain | None = None) -> Question:
    """Ask for one row more than is wanted: a row behind the end proves silence before it."""
    limit = before.limit if before else min(most, wanted.length // timeframe.step + 1)
    return Question(wanted, limit, most, timeframe)


def read(asked: Question, ts: Int64Array, now: int, before: AskAgain | None = None) -> Proof | AskAgain:
    """What an answer proves. `ts` are its stamps in any order; `now` is the exchange's time, in nanoseconds.

    `before` is what the last answer to the same question led to, if this is not the first.
    """
    wanted, step = asked.wanted, asked.timeframe.step
    told = ts[ts + step <= now]  # a forming bar proves nothing yet, and a future one is nonsense
    after = told[told >= wanted.start]
    first = int(after.min()) if len(after) else None
    is_late = first is None or _floor(first, asked.timeframe) > wanted.start
    if is_late and asked.limit < asked.most:
        # As many rows as can be had show whether the page was cut at its older end.
        return AskAgain(asked.most, first)
    if first is None or first >= min(asked.window.end, wanted.end):
        agreed = before is not None and before.seen == first
        if not agreed:
            return AskAgain(asked.limit, first)
    if first is None:
        end = min(asked.window.end, wanted.end)
        return Proof(Span(wanted.start, end), end)
    last = int(after.max())
    end = min(_floor(last, asked.timeframe) + step, wanted.end)
    is_cut = is_late and len(ts) >= asked.limit and int(ts.max()) + 2 * step > now
    start = min(_floor(first, asked.timeframe), wanted.end) if is_cut else wanted.start
    return Proof(Span(start, max(start, end)), end)


def first_bar(asked: Question, ts: Int64Array, now: int) -> int | None:
    """The first closed bar from where it was asked on, wherever it lies; None if there was no row."""
    told = ts[(ts >= asked.wanted.start) & (ts + asked.timeframe.step <= now)]
    return _floor(int(told.min()), asked.timeframe) if len(told) else None


def from_the_epoch(timeframe: Timeframe, most: int) -> Question:
    """Ask for the first bars of all: as many as can be had, to see whether the page was cut at its older end.

    Not from zero, which some take for no answer to "since when".
    """
    start = timeframe.origin + timeframe.step
    return Question(Span(start, start + most * timeframe.step), most, most, timeframe)


def first_of_all(asked: Question, ts: Int64Array, now: int) -> int | None:
    """The first bar that the exchange has, as the answer to `from_the_epoch` tells; None if it does not."""
    if len(ts) == 0 or int(ts.min()) < asked.wanted.start:
        return None
    if len(ts) >= asked.limit and int(ts.max()) + 2 * asked.timeframe.step > now:
        return None  # the newest bars, whatever was asked
    return first_bar(asked, ts, now)


def _floor(ts: int, timeframe: Timeframe) -> int:
    return ts - (ts - timeframe.origin) % timeframe.step
