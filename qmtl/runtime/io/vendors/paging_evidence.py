"""What a page of an exchange proves: pure, so that it can be tried on exchanges of every behaviour.

    while not paging.wanted.is_empty:
        asked = next_request(paging)
        outcome = read(paging, <the stamps of the answer>, now)   # Proof, Inconclusive or Unusable

All exchanges get the same request: at most `limit` bars from `since` on, oldest first. What comes back is
read with care, because they differ in what they do where they have few bars, and all of them fail sometimes:

- A page is a run of consecutive bars. It proves its rows, and that nothing was traded between them, wherever
  it lies. So a request begins at the last known bar: a page that contains it also proves what follows.
- What lies before the first row of a page is proved only if the page was an answer to `since`. A page that
  begins late is therefore requested again from further back, so that a bar before the silence is seen too.
- Where there is none (before the listing, in a long silence), the exchange must show that it respects
  `since`: requested from the last row on, it has to continue there. A page that is always the same whatever
  is requested (from a proxy's cache, or the newest bars) proves no more than what lies between its rows.
- An empty page, or none within a page's length of `since`, may be a temporary failure. It is accepted
  when two answers agree, and a page without rows proves only its own length: some exchanges look no further.
- Rows that all lie outside the requested range are no answer. After one more request they are an error.
- A page that begins late, is full, and ends at the present was cut at its older end (some exchanges keep a
  few hundred bars only, and ignore `since`). It proves nothing about what lies before it.
- Where a request finds no bars first, it may lie before the listing. Requested from the epoch on, many
  exchanges begin with their first bar of all. If that is the bar with which the silence ends, the exchange
  has nothing before it: that is an absence, not a silence. Exchanges that begin elsewhere prove nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from qmtl.foundation.series import Timeframe
from qmtl.foundation.timeline import Int64Array, Span
from qmtl.runtime.io.vendors.misplaced_rows import UNITS_FOR_MILLISECONDS, misplaced_rows

# How often an exchange may contradict itself about one range.
MOST_DOUBTS = 6


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Ask for at most `limit` rows that open at `since` (ns) or later."""

    since: int
    limit: int


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why the last answer is not enough evidence, and from where to request next.

    silent: no row came. late: the first row, `first`, came after the requested bar.
    heeded: two answers agree on `first`; `rows` are the stamps of the second. Is it an answer to `since`?
    """

    why: Literal["silent", "late", "heeded"]
    since: int
    first: int | None = None
    rows: Int64Array | None = None
    strayed: bool = False


@dataclass(frozen=True, slots=True)
class PagingState:
    """The state of a paged read. `wanted` lies on the grid and has closed; `most` rows can be had at once.

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
    """The exchange answered for `answered`; `paging` continues after it. What lies between stays unknown.

    first: the first row at or after `since`, wherever it lies; None if there was none.
    of_earlier: the rows are those of the answer before this one.
    """

    answered: Span
    paging: PagingState
    first: int | None = None
    of_earlier: bool = False


@dataclass(frozen=True, slots=True)
class Inconclusive:
    """Not enough evidence: make the next request."""

    paging: PagingState


@dataclass(frozen=True, slots=True)
class Unusable:
    """The exchange does not answer the request; `why` has the facts."""

    why: str


def next_request(paging: PagingState) -> PageRequest:
    """Request one row more than is wanted: a row after the end proves that there is none before it."""
    if paging.doubt is not None:
        return PageRequest(paging.doubt.since, paging.most)
    cells = paging.wanted.length // paging.timeframe.step
    if paging.known is None:
        return PageRequest(paging.wanted.start, min(paging.most, cells + 1))
    return PageRequest(paging.known, min(paging.most, cells + 2))


def read(paging: PagingState, ts: Int64Array, now: int) -> Proof | Inconclusive | Unusable:
    """What an answer to `next_request(paging)` proves.

    ts: its stamps (ns) in any order. now: the exchange's time (ns); a bar that still forms shows that nothing
    was traded before it, one of the future is invalid.
    """
    request, wanted, doubt = next_request(paging), paging.wanted, paging.doubt
    step = paging.timeframe.step
    rows = np.unique(ts[ts <= now])
    if doubt is not None and doubt.why == "heeded":
        return _heeded(paging, doubt, rows)
    first = next((int(row) for row in rows[np.searchsorted(rows, wanted.start) :][:1]), None)
    if first is None:
        return _silent(paging, request, ts, rows, now)
    start = _floor(first, paging.timeframe)
    is_far = first >= wanted.start + paging.most * step
    has_before = rows[0] < wanted.start
    if start <= wanted.start or (has_before and not (is_far and not _agrees(doubt, first))):
        return _proof(paging, rows, wanted.start)
    if not has_before and len(ts) >= request.limit and int(rows[-1]) + 2 * step > now:
        # The newest bars, whatever was requested.
        if start >= wanted.end and not (doubt is not None and doubt.strayed):
            return _inconclusive(paging, Doubt("silent", wanted.start, strayed=True))
        return _between(paging, rows)
    if _agrees(doubt, first):
        # From the last row on; the one row of a page is the last one, too, and must not come again.
        since = int(rows[-1]) if rows[-1] > first else first + step
        return _inconclusive(paging, Doubt("heeded", since, first, rows))
    return _inconclusive(paging, Doubt("late", _further_back(paging), first))


def _silent(
    paging: PagingState, request: PageRequest, ts: Int64Array, rows: Int64Array, now: int
) -> Inconclusive | Proof | Unusable:
    """No row at or after `since`."""
    wanted, doubt, step = paging.wanted, paging.doubt, paging.timeframe.step
    stray = ts[(ts < request.since) | (ts > now)]
    if len(stray):
        if doubt is not None and doubt.strayed:
            return _misplaced(paging, request, ts)
        return _inconclusive(paging, Doubt("silent", wanted.start, strayed=True))
    if doubt is not None and doubt.why == "late" and len(rows) and int(rows[-1]) > request.since:
        # A page shorter than requested, all of it before the silence: continue at its last row.
        return Inconclusive(replace(paging, doubt=replace(doubt, since=int(rows[-1]))))
    reach = request.since + request.limit * step
    if doubt is not None and doubt.first is not None and doubt.first >= reach > wanted.start:
        # An exchange searches no further than one page. Up to there two answers agree that there is no bar.
        end = min(reach, wanted.end)
        return Proof(Span(wanted.start, end), _from(paging, end, None))
    is_second = doubt is not None and doubt.why == "silent" and not doubt.strayed
    if not is_second:
        return _inconclusive(paging, Doubt("silent", wanted.start))
    end = min(wanted.start + request.limit * step, wanted.end)
    return Proof(Span(wanted.start, end), _from(paging, end, None))


def _heeded(paging: PagingState, doubt: Doubt, rows: Int64Array) -> Proof | Inconclusive | Unusable:
    """The answer to a question from the last row of the page before: does it continue there?"""
    page, first = doubt.rows, doubt.first
    assert page is not None  # what a doubt of this kind has
    assert first is not None
    if first == page[-1]:
        if not len(rows) or rows[0] > first:
            return _proof(paging, page, paging.wanted.start, of_earlier=True)
        return _between(paging, page, of_earlier=True)
    last = page[-1]
    if last not in rows:
        return _inconclusive(paging, Doubt("late", _further_back(paging), first))
    if rows[-1] > last or rows[0] == last:
        return _proof(paging, page, paging.wanted.start, of_earlier=True)
    return _between(paging, page, of_earlier=True)


def _between(paging: PagingState, rows: Int64Array, *, of_earlier: bool = False) -> Proof | Unusable:
    """A page that is no answer to `since` proves what lies between its rows; an error if none is wanted."""
    wanted = paging.wanted
    after = rows[rows >= wanted.start]
    start = _floor(int(after[0]), paging.timeframe)
    if start >= wanted.end:
        return _misplaced(paging, next_request(replace(paging, doubt=None)), rows)
    return _proof(paging, rows, start, of_earlier=of_earlier)


def _proof(paging: PagingState, rows: Int64Array, start: int, *, of_earlier: bool = False) -> Proof:
    """All from `start` to the last of the rows."""
    wanted, timeframe = paging.wanted, paging.timeframe
    first, last = int(rows[np.searchsorted(rows, wanted.start)]), int(rows[-1])
    end = min(_floor(last, timeframe) + timeframe.step, wanted.end)
    known = last if end < wanted.end and last == _floor(last, timeframe) else None
    return Proof(Span(start, end), _from(paging, end, known), _floor(first, timeframe), of_earlier=of_earlier)


def _misplaced(paging: PagingState, request: PageRequest, ts: Int64Array) -> Unusable:
    wanted = paging.wanted
    end = max(wanted.start, min(wanted.end, request.since + request.limit * paging.timeframe.step))
    facts = misplaced_rows(
        len(ts), int(ts.min()), int(ts.max()), Span(wanted.start, end), UNITS_FOR_MILLISECONDS
    )
    return Unusable(f"it answered with {facts}. It ignores what it is asked, or keeps no older bars")


def _inconclusive(paging: PagingState, doubt: Doubt) -> Inconclusive | Unusable:
    if paging.doubts + 1 == MOST_DOUBTS:
        return Unusable(f"its last {MOST_DOUBTS} answers contradict each other")
    return Inconclusive(replace(paging, doubt=doubt, doubts=paging.doubts + 1))


def _agrees(doubt: Doubt | None, first: int) -> bool:
    return doubt is not None and doubt.why == "late" and doubt.first == first


def _further_back(paging: PagingState) -> int:
    """Half a page before what is wanted, so that the page holds bars on either side of it.

    Not zero, which some exchanges take for a missing `since`.
    """
    timeframe, start = paging.timeframe, paging.wanted.start
    return max(start - paging.most // 2 * timeframe.step, min(start, timeframe.origin + timeframe.step))


def _from(paging: PagingState, start: int, known: int | None) -> PagingState:
    return PagingState(Span(start, paging.wanted.end), paging.most, paging.timeframe, known)


def from_the_epoch(timeframe: Timeframe, most: int) -> PageRequest:
    """Request the first bars of all: as many as one page holds, to see whether it was cut."""
    return PageRequest(timeframe.origin + timeframe.step, most)


def first_of_all(request: PageRequest, ts: Int64Array, now: int, timeframe: Timeframe) -> int | None:
    """The first bar that the exchange has, as the answer to `from_the_epoch` tells; None if it does not."""
    if len(ts) == 0 or int(ts.min()) < request.since:
        return None
    if len(ts) >= request.limit and int(ts.max()) + 2 * timeframe.step > now:
        return None  # the newest bars, whatever was requested
    first = int(ts.min())
    return _floor(first, timeframe) if first <= now else None


def _floor(ts: int, timeframe: Timeframe) -> int:
    return ts - (ts - timeframe.origin) % timeframe.step
