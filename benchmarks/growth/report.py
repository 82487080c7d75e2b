"""The rungs as tables of a document."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from benchmarks.growth.climbing import Rung
from benchmarks.growth.ladders import LADDERS, Ladder
from benchmarks.growth.measuring import COMMIT, COVERAGE, FETCH, FIRST, NEW, OPEN
from benchmarks.table import number

HEADINGS = (
    "store",
    "open",
    "fetch",
    "steps",
    "pages",
    "calls",
    "first fetch",
    "its steps",
    "coverage",
    "commit",
    "first commit",
    "its steps",
    "memory",
)


def for_markdown(climbed: Mapping[str, Sequence[Rung]], facts: Mapping[str, str]) -> str:
    """The facts of the machine, and a table for each ladder."""
    return "\n".join(_lines(climbed, facts))


def _lines(climbed: Mapping[str, Sequence[Rung]], facts: Mapping[str, str]) -> Iterator[str]:
    yield "; ".join(f"{name} {value}" for name, value in facts.items()) + "."
    for name, rungs in climbed.items():
        yield from ("", f"### {heading(LADDERS[name])}", "")
        yield _line([LADDERS[name].of, *HEADINGS])
        yield "| ---: |" + " ---: |" * len(HEADINGS)
        for rung in rungs:
            yield _line([f"{rung.size:,}", *cells_of(rung)])


def heading(ladder: Ladder) -> str:
    """What there is more of from line to line."""
    of = f"{ladder.of[0].upper()}{ladder.of[1:]}"
    return f"{of} {ladder.what}"


def cells_of(rung: Rung) -> list[str]:
    """What was measured on one rung, in the order of HEADINGS: times in ms."""
    of, mib = rung.costs.of, 1 << 20
    fetch, first = of[FETCH], of[FIRST]
    return [
        f"{number(rung.stored / 1e6)} MB",
        _ms(of[OPEN].seconds),
        _ms(fetch.seconds),
        f"{fetch.steps:,}",
        f"{fetch.pages:,}",
        f"{fetch.calls:,}",
        _ms(first.seconds),
        f"{first.steps:,}",
        _ms(of[COVERAGE].seconds),
        _ms(of[COMMIT].seconds),
        _ms(of[NEW].seconds),
        f"{of[NEW].steps:,}",
        f"{rung.costs.peak / mib:.0f} MiB",
    ]


def _ms(seconds: float) -> str:
    return f"{number(1e3 * seconds)} ms"


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
