"""Decides from the history of a run whether a fleet has kept its promises: a list of those that it broke.

The order of lines decides nothing. One thing came before another only where its outcome was known before the
other began; of two that may have been in either order, neither is held against the other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple, TypeVar

from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import EMPTY, Coverage
from qmtl.foundation.times import iso
from qmtl.runtime.coordination.shards import shard_numbers, shard_span
from qmtl.runtime.io.store.fencing import SHARD_STEPS
from tests.qmtl.stories.fleet.history import (
    Asked,
    Claimed,
    Committed,
    Completed,
    Event,
    Fault,
    Fenced,
    Fetched,
    Queued,
    Remaining,
    Requested,
    Reread,
)

Kind = TypeVar("Kind", bound=Event)


class Finding(NamedTuple):
    """rule: the name of the promise. what: how it was broken."""

    rule: str
    what: str


class _History:
    """The events of each kind, in the order in which they began."""

    def __init__(self, events: Iterable[Event]) -> None:
        self._events = sorted(events, key=lambda event: getattr(event, "at", 0))

    def of(self, kind: type[Kind]) -> list[Kind]:
        return [event for event in self._events if isinstance(event, kind)]


def check(events: Iterable[Event]) -> list[Finding]:
    """All promises that the run broke, none of them twice."""
    history = _History(events)
    rules = (_fences, _times, _asked_again, _requested_again, _done, _answered, _reread)
    return list(dict.fromkeys(finding for rule in rules for finding in rule(history)))


def _fences(history: _History) -> Iterator[Finding]:
    """No commit is accepted under a token lower than one that was issued before it for that shard."""
    issued: dict[tuple[str, int], list[tuple[int, Fenced]]] = defaultdict(list)
    for fence in history.of(Fenced):
        for shard, token in fence.tokens:
            issued[fence.series, shard].append((token, fence))
    accepted: dict[tuple[str, int], list[tuple[int, Committed]]] = defaultdict(list)
    for commit in history.of(Committed):
        if commit.outcome == "accepted":
            for shard, token in commit.tokens:
                accepted[commit.series, shard].append((token, commit))
    for (series, shard), commits in accepted.items():
        for token, commit in commits:
            for newer, fence in issued[series, shard]:
                if newer > token and fence.until < commit.at:
                    yield Finding(
                        "stale commit",
                        f"{commit.worker} committed tx {commit.tx} to shard {shard} of {series} under token "
                        f"{token}, after {fence.worker} had been given {newer}",
                    )
        commits.sort(key=lambda one: one[1].tx or 0)
        for (before, earlier), (token, later) in pairwise(commits):
            if token < before:
                yield Finding(
                    "stale commit",
                    f"tx {later.tx} of {later.worker} to shard {shard} of {series} has the token {token}, "
                    f"tx {earlier.tx} before it {before}",
                )


def _times(history: _History) -> Iterator[Finding]:
    """The times of commits rise as their numbers do, whatever clocks show."""
    times = {
        (one.tx, one.as_of): one
        for one in history.of(Committed)
        if one.tx is not None and one.as_of is not None
    }
    for (before, earlier), (tx, as_of) in pairwise(sorted(times)):
        if before == tx or as_of <= earlier:
            yield Finding(
                "time goes back",
                f"tx {tx} of {times[tx, as_of].worker} has the time {iso(as_of)}, tx {before} of "
                f"{times[before, earlier].worker} has {iso(earlier)}",
            )


def _asked_again(history: _History) -> Iterator[Finding]:
    """No bar is asked of a vendor again while its committed answer holds and no failure lies between.

    Who claims a shard sees all that was committed before the claim was granted, whatever has failed: that is
    never asked again, and neither is what the claim itself has committed. What others commit meanwhile may be
    asked again only where a failure let two work on one shard.
    """
    commits, grants, faults = _answers(history), _grants(history), history.of(Fault)
    for asked in history.of(Asked):
        wanted = Coverage.of((asked.start, asked.end))
        for shard in shard_numbers(wanted, _width(asked.series)):
            grant = grants.get((asked.claim, asked.series, shard))
            if grant is None:
                yield Finding(
                    "no lease", f"{asked.worker} asks for shard {shard} of {asked.series} without one"
                )
                continue
            if not (grant.coordinated or _failed(faults, 0, grant.until)):
                yield Finding(
                    "no lease",
                    f"{asked.worker} asks for shard {shard} of {asked.series} without one of the coordinator",
                )
            cells = wanted.clip(shard_span(shard, _width(asked.series)))
            for commit, again in _overlapping(commits.get(asked.series, []), cells, asked.at):
                seen = commit.until < grant.until or commit.claim == asked.claim
                theirs = grants.get((commit.claim, asked.series, shard))
                since = commit.at if theirs is None else theirs.at
                if seen or not _failed(faults, since, asked.at):
                    yield Finding(
                        "asked again",
                        f"{asked.worker} asks for {_text(again)} of {asked.series}, which {commit.worker} "
                        f"had committed as tx {commit.tx}" + (" before the claim" if seen else ""),
                    )


def _requested_again(history: _History) -> Iterator[Finding]:
    """As the vendor sees it: no request comes for a committed bar, unless something failed between."""
    commits, faults = _answers(history), history.of(Fault)
    for request in history.of(Requested):
        cells = Coverage.of((request.start, request.end))
        for commit, again in _overlapping(commits.get(request.series, []), cells, request.at):
            if not _failed(faults, commit.at, request.at):
                yield Finding(
                    "requested again",
                    f"a request came for {_text(again)} of {request.series}, which {commit.worker} "
                    f"had committed as tx {commit.tx}",
                )


def _done(history: _History) -> Iterator[Finding]:
    """No shard is reported done for cells that the store did not have at the time that is named."""
    known: dict[tuple[str, int], Coverage] = defaultdict(lambda: EMPTY)
    for reread in history.of(Reread):
        known[reread.series, reread.as_of] |= Coverage(reread.known)
    grants = _grants(history)
    reports = [
        (claimed.worker, claimed.series, claimed.shard, claimed.cells, claimed.as_of or 0)
        for claimed in history.of(Claimed)
        if claimed.answer == "done"
    ]
    for completed in history.of(Completed):
        for shard in completed.shards:
            cells = grants[completed.claim, completed.series, shard].cells
            reports.append((completed.worker, completed.series, shard, cells, completed.as_of))
    for worker, series, shard, spans, as_of in reports:
        if lacking := Coverage(spans) - known[series, as_of]:
            yield Finding(
                "done without bars",
                f"shard {shard} of {series} is done as of {iso(as_of)} for {worker}, "
                f"but the store lacks {_text(lacking)}",
            )


def _answered(history: _History) -> Iterator[Finding]:
    """Every bar that anybody wanted is known in the end, or listed in a violation."""
    left: dict[str, Coverage] = defaultdict(lambda: EMPTY)
    for wanted in (*history.of(Fetched), *history.of(Queued)):
        left[wanted.series] |= Coverage.of((wanted.start, wanted.end))
    for remaining in history.of(Remaining):
        left[remaining.series] -= Coverage(remaining.known) | Coverage(remaining.violated)
    for series, cells in left.items():
        if cells:
            yield Finding("lost", f"{_text(cells)} of {series} were wanted, and are neither known nor told")


def _reread(history: _History) -> Iterator[Finding]:
    """What a receipt says is read again, the same to the bit, as of its commit."""
    rereads = {(one.series, one.start, one.end, one.as_of): one for one in history.of(Reread)}
    for fetched in history.of(Fetched):
        if fetched.as_of is None:
            continue
        found = rereads.get((fetched.series, fetched.start, fetched.end, fetched.as_of))
        if found is None or found.fingerprint != fetched.fingerprint:
            got = "nothing" if found is None else found.fingerprint
            yield Finding(
                "other bars",
                f"{fetched.worker} was given {fetched.fingerprint} of {fetched.series} as of "
                f"{iso(fetched.as_of)}, and {got} is read there",
            )


class _Answer(NamedTuple):
    """What an accepted commit has answered for. until: when its acceptance was known."""

    worker: str
    claim: str
    at: int
    until: int
    tx: int | None
    cells: Coverage
    start: int
    end: int


def _answers(history: _History) -> dict[str, list[_Answer]]:
    """Of each series, what was accepted."""
    answers: dict[str, list[_Answer]] = defaultdict(list)
    for one in history.of(Committed):
        cells = Coverage(one.answered)
        if one.outcome == "accepted" and one.until is not None and cells:
            answers[one.series].append(
                _Answer(one.worker, one.claim, one.at, one.until, one.tx, cells, *cells.hull)
            )
    return answers


def _overlapping(answers: list[_Answer], cells: Coverage, before: int) -> Iterator[tuple[_Answer, Coverage]]:
    """Those that were accepted before, with what they have of the cells."""
    hull = cells.hull
    for answer in answers:
        meets = answer.until < before and answer.start < hull.end and hull.start < answer.end
        if meets and (again := answer.cells & cells):
            yield answer, again


def _grants(history: _History) -> dict[tuple[str, str, int], Claimed]:
    """Of each claim and shard, what was granted first."""
    granted = [one for one in history.of(Claimed) if one.answer == "granted"]
    return {(one.claim, one.series, one.shard): one for one in reversed(granted)}


def _failed(faults: list[Fault], since: int, until: int) -> bool:
    return any(fault.at <= until and (fault.until is None or since <= fault.until) for fault in faults)


def _width(series: str) -> int:
    return SHARD_STEPS * SeriesId.parse(series).timeframe.step


def _text(cells: Coverage) -> str:
    return f"[{iso(cells.hull.start)}, {iso(cells.hull.end)})"
