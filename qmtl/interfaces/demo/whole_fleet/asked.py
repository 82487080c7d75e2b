"""What an exchange was asked for, held against what was committed when."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.runtime.io.store.values import CommitInfo

_MILLISECOND = 1_000_000


class Page(NamedTuple):
    """Bars that were asked for, and when (ns)."""

    at: int
    span: Span


def page_of(at: int, parameters: Mapping[str, str], step: int) -> Page | None:
    """What a request for klines of a minute asks for, by its parameters; None where that is nothing new.

    Left out are the first bar and the last: pages overlap there, to show that nothing lies between them.
    """
    if parameters.get("interval") != "1m" or "startTime" not in parameters:
        return None
    start, count = int(parameters["startTime"]) * _MILLISECOND, int(parameters["limit"])
    return Page(at, Span(start + step, start + (count - 1) * step)) if count > 2 else None


def asked_twice(pages: Iterable[Page]) -> Coverage:
    """The bars that more than one page was for."""
    once = twice = EMPTY
    for page in pages:
        span = Coverage([page.span])
        twice |= once & span
        once |= span
    return twice


def asked_after_commit(pages: Iterable[Page], commits: Sequence[CommitInfo]) -> Coverage:
    """The bars that were asked for though a commit had them already."""
    again = EMPTY
    for page in pages:
        held = Coverage([commit.span for commit in commits if commit.as_of < page.at])
        again |= held & Coverage([page.span])
    return again
