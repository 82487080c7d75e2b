"""What a page of an exchange proves: pure, so that it can be tried on exchanges of every habit.

    while not paging.wanted.is_empty:
        asked = next_question(paging)
        outcome = read(paging, <the stamps of the answer>, now)   # Proof, Again or Unusable

Exchanges are asked alike: at most `limit` bars from `since` on, oldest first. What comes back is read with
care, because they differ in what they do when there is little to tell, and all of them fail sometimes:

- A page is a run of consecutive bars. It proves its rows, and that nothing was traded between them, wherever
  it lies. So a question begins at the last bar that is known: a page that holds it speaks for what follows.
- What lies before the first row of a page is proved only if the page was an answer to `since`. A page that
  begins late is therefore asked for again from further back, so that a bar before the silence is seen too.
- Where there is none (before the listing, in a long silence), the exchange must show that it heeds `since`:
  asked from the last row on, it has to go on there. A page that comes again whatever is asked (from a proxy's
  cache, or the newest bars) proves no more than what lies between its rows.
- Nothing at all, or nothing within a page's length of where it was asked for, may be a slip. It is believed
  when two answers agree, and a page without rows proves only its own length: some exchanges look no further.
- Rows that all lie beside the question are no answer. They are asked for once more, and are then an error.
- A page that begins late, is full, and ends at the present was cut at its older end (some exchanges keep a
  few hundred bars only, and ignore `since`). It proves nothing about what lies before it.
- Where a question meets silence first, it may lie before the listing. Asked from the epoch on, many exchanges
  begin with their first bar of all. If that is the bar with which the silence ends, the exchange has nothing
  before it: that is an absence, not a silence. Exchanges that begin elsewhere prove nothing by it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from qmtl.foundation.series import Timeframe
from qmtl.foundation.timeline import Int64Array, Span
from qmtl.runtime.io.vendors.beside import UNITS_FOR_MILLISECONDS, beside

# How often an exchange may contradict itself about one range.
MOST_DOUBTS = 6


@dataclass(frozen=True, slots=True)
class Question:
    """Ask for at most `limit` rows that open at `since` (ns) or later."""

    since: int
    limit: int


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why the last answer is not enough to go by, and from where to ask next.

    silent: no row came. late: the first row, `first`, came after the bar that was asked for.
    heeded: two answers agree on `first`; `rows` are the stamps of the second. Is it an answer to `since`?
    """

    why: Literal["silent", "late", "heeded"]
    since: int
    first: int | None = None
    rows: Int64Array | None = None
    strayed: bool = False


@dataclass(frozen=True, slots=True)
class Paging:
    """Where a reading stands. `wanted` lies on the grid and has closed; `most` rows can be had at once.

    known: the bar right before `wanted`, if the exchange has just given it.
    """

    wanted: Span
    most: int
    timeframe: Timeframe
    known: int | None = None
    doubt: Doubt | None = None
    doubts: int = 0


@dataclass(frozen=True, slots=True)
class Proof:
    """The exchange spoke for `answered`; `paging` goes on behind it. What lies between stays unknown.

    first: the first row from where it was asked on, wherever it lies; None if there was none.
    of_earlier: the rows are those of the answer before this one.
    """

    answered: Span
    paging: Paging
    first: int | None = None
    of_earlier: bool = False


@dataclass(frozen=True, slots=True)
class Again:
    """Not enough to go by: put the next question."""

    paging: Paging


@dataclass(frozen=True, slots=True)
class Unusable:
    """The exchange does not answer what it is asked; `why` has the facts."""

    why: str


def next_question(paging: Paging) -> Question:
    """Ask for one row more than is wanted: a row behind the end proves silence before it."""
    if paging.doubt is not None:
        return Question(paging.doubt.since, paging.most)
    cells = paging.wanted.length // paging.timeframe.step
    if paging.known is None:
        return Question(paging.wanted.start, min(paging.most, cells + 1))
    return Question(paging.known, min(paging.most, cells + 2))


def read(paging: Paging, ts: Int64Array, now: int) -> Proof | Again | Unusable:
    """What an answer to `next_question(paging)` proves.

    ts: its stamps (ns) in any order. now: the exchange's time (ns); a bar that still forms shows that nothing
    was traded before it, one of the future is nonsense.
    """
    asked, wanted, doubt = next_question(paging), paging.wanted, paging.doubt
    step = paging.timeframe.step
    rows = np.unique(ts[ts <= now])
    if doubt is not None and doubt.why == "heeded":
        return _heeded(paging, doubt, rows)
    first = next((int(row) for row in rows[np.searchsorted(rows, wanted.start) :][:1]), None)
    if first is None:
        return _silent(paging, asked, ts, rows, now)
    start = _floor(first, paging.timeframe)
    is_far = first >= wanted.start + paging.most * step
    has_before = rows[0] < wanted.start
    if start <= wanted.start or (has_before and not (is_far and not _agrees(doubt, first))):
        return _proof(paging, rows, wanted.start)
    if not has_before and len(ts) >= asked.limit and int(rows[-1]) + 2 * step > now:
        # The newest bars, whatever was asked.
        if start >= wanted.end and not (doubt is not None and doubt.strayed):
            return _again(paging, Doubt("silent", wanted.start, strayed=True))
        return _between(paging, rows)
    if _agrees(doubt, first):
        # From the last row on; the one row of a page is the last one, too, and must not come again.
        since = int(rows[-1]) if rows[-1] > first else first + step
        return _again(paging, Doubt("heeded", since, first, rows))
    return _again(paging, Doubt("late", _further_back(paging), first))


def _silent(
    paging: Paging, asked: Question, ts: Int64Array, rows: Int64Array, now: int
) -> Again | Proof | Unusable:
    """No row from where it was asked for on."""
    wanted, doubt, step = paging.wanted, paging.doubt, paging.timeframe.step
    stray = ts[(ts < asked.since) | (ts > now)]
    if len(stray):
        if doubt is not None and doubt.strayed:
            return _beside(paging, asked, ts)
        return _again(paging, Doubt("silent", wanted.start, strayed=True))
    if doubt is not None and doubt.why == "late" and len(rows) and int(rows[-1]) > asked.since:
        # A page shorter than was asked for, all of it before the silence: go on at its last row.
        return Again(replace(paging, doubt=replace(doubt, since=int(rows[-1]))))
    reach = asked.since + asked.limit * step
    if doubt is not None and doubt.first is not None and doubt.first >= reach > wanted.start:
        # It looks no further than it has to. Up to there two answers agree that there is nothing.
        end = min(reach, wanted.end)
        return Proof(Span(wanted.start, end), _from(paging, end, None))
    is_second = doubt is not None and doubt.why == "silent" and not doubt.strayed
    if not is_second:
        return _again(paging, Doubt("silent", wanted.start))
    end = min(wanted.start + asked.limit * step, wanted.end)
    return Proof(Span(wanted.start, end), _from(paging, end, None))


def _heeded(paging: Paging, doubt: Doubt, rows: Int64Array) -> Proof | Again | Unusable:
    """The answer to a question from the last row of the page before: does it go on there?"""
    page, first = doubt.rows, doubt.first
    assert page is not None  # what a doubt of this kind has
    assert first is not None
    if first == page[-1]:
        if not len(rows) or rows[0] > first:
            return _proof(paging, page, paging.wanted.start, of_earlier=True)
        return _between(paging, page, of_earlier=True)
    last = page[-1]
    if last not in rows:
        return _again(paging, Doubt("late", _further_back(paging), first))
    if rows[-1] > last or rows[0] == last:
        return _proof(paging, page, paging.wanted.start, of_earlier=True)
    return _between(paging, page, of_earlier=True)


def _between(paging: Paging, rows: Int64Array, *, of_earlier: bool = False) -> Proof | Unusable:
    """A page that is no answer to `since` proves what lies between its rows; an error if none is wanted."""
    wanted = paging.wanted
    after = rows[rows >= wanted.start]
    start = _floor(int(after[0]), paging.timeframe)
    if start >= wanted.end:
        return _beside(paging, next_question(replace(paging, doubt=None)), rows)
    return _proof(paging, rows, start, of_earlier=of_earlier)


def _proof(paging: Paging, rows: Int64Array, start: int, *, of_earlier: bool = False) -> Proof:
    """All from `start` to the last of the rows."""
    wanted, timeframe = paging.wanted, paging.timeframe
    first, last = int(rows[np.searchsorted(rows, wanted.start)]), int(rows[-1])
    end = min(_floor(last, timeframe) + timeframe.step, wanted.end)
    known = last if end < wanted.end and last == _floor(last, timeframe) else None
    return Proof(Span(start, end), _from(paging, end, known), _floor(first, timeframe), of_earlier=of_earlier)


def _beside(paging: Paging, asked: Question, ts: Int64Array) -> Unusable:
    wanted = paging.wanted
    end = max(wanted.start, min(wanted.end, asked.since + asked.limit * paging.timeframe.step))
    facts = beside(len(ts), int(ts.min()), int(ts.max()), Span(wanted.start, end), UNITS_FOR_MILLISECONDS)
    return Unusable(f"it answered with {facts}. It ignores what it is asked, or keeps no older bars")


def _again(paging: Paging, doubt: Doubt) -> Again | Unusable:
    if paging.doubts + 1 == MOST_DOUBTS:
        return Unusable(f"its last {MOST_DOUBTS} answers contradict each other")
    return Again(replace(paging, doubt=doubt, doubts=paging.doubts + 1))


def _agrees(doubt: Doubt | None, first: int) -> bool:
    return doubt is not None and doubt.why == "late" and doubt.first == first


def _further_back(paging: Paging) -> int:
    """Half a page before what is wanted, so that the page holds bars on either side of it.

    Not zero, which some take for no answer to "since when".
    """
    timeframe, start = paging.timeframe, paging.wanted.start
    return max(start - paging.most // 2 * timeframe.step, min(start, timeframe.origin + timeframe.step))


def _from(paging: Paging, start: int, known: int | None) -> Paging:
    return Paging(Span(start, paging.wanted.end), paging.most, paging.timeframe, known)


def from_the_epoch(timeframe: Timeframe, most: int) -> Question:
    """Ask for the first bars of all: as many as can be had, to see whether the page was cut."""
    return Question(timeframe.origin + timeframe.step, most)


def first_of_all(asked: Question, ts: Int64Array, now: int, timeframe: Timeframe) -> int | None:
    """The first bar that the exchange has, as the answer to `from_the_epoch` tells; None if it does not."""
    if len(ts) == 0 or int(ts.min()) < asked.since:
        return None
    if len(ts) >= asked.limit and int(ts.max()) + 2 * timeframe.step > now:
        return None  # the newest bars, whatever was asked
    first = int(ts.min())
    return _floor(first, timeframe) if first <= now else None


def _floor(ts: int, timeframe: Timeframe) -> int:
    return ts - (ts - timeframe.origin) % timeframe.step
