"""Which tier and which source brought each part of an answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

from qmtl.foundation.timeline import Coverage, Span
from qmtl.runtime.planning.request import Tier


class Turn(NamedTuple):
    """A tier that was asked for bars, and the cells that nobody had answered for until then."""

    tier: Tier
    missing: Coverage


class Served(NamedTuple):
    """Which sub-ranges came from which tier and source."""

    tier: Tier
    source: str
    cells: Coverage


class SourceAnswer(Protocol):
    """What a store keeps of one answer of one source: a range, in ns, half-open."""

    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...
    @property
    def source(self) -> str: ...


def brought(turns: Sequence[Turn], unknown: Coverage) -> Iterator[tuple[Tier, Coverage]]:
    """Per turn, the cells that were missing before it, and not after it. unknown: those missing at last."""
    missing_then = [*(turn.missing for turn in turns), unknown]
    for turn, after in zip(turns, missing_then[1:], strict=True):
        yield turn.tier, turn.missing - after


def served(
    answers: Iterable[SourceAnswer],
    span: Span,
    unknown: Coverage,
    *,
    turns: Sequence[Turn],
    answered_by: Tier,
) -> tuple[Served, ...]:
    """Each source's answers within `span`, split by the tier that brought them in this request; by time.

    unknown: cells without an answer, even if there was one: an absence may have expired.
    answered_by: the cache or the store, which had whatever no other tier brought.
    """
    by_source: dict[str, list[tuple[int, int]]] = {}
    for answer in answers:
        by_source.setdefault(answer.source, []).append((answer.start, answer.end))
    by_tier = list(brought(turns, unknown))
    rows = []
    for source, spans in by_source.items():
        rest = Coverage(spans).clip(span) - unknown
        for tier, cells in by_tier:
            rows.append(Served(tier, source, rest & cells))
            rest = rest - cells
        rows.append(Served(answered_by, source, rest))
    return tuple(sorted((row for row in rows if row.cells), key=lambda row: row.cells.hull.start))
