"""`--on ENGINE`, and the report on many series as people and machines read it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from qmtl.interfaces.cli.guard import DEFECT, EXIT_CODES
from qmtl.interfaces.cli.progress import Bars
from qmtl.interfaces.cli.session import Session, instant

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from qmtl.runtime.conformance.universe import SeriesRollup, UniverseReport

On = Annotated[
    str | None,
    typer.Option(
        "--on",
        metavar="ENGINE",
        help="processes:N, dask://HOST:8786 or ray://HOST:10001.",
    ),
]

# Errors of several series: the exit code of the first in the order in which a fetch of one raises them.
ORDER = (DEFECT, 5, 7, 3, 6, 4, 2)
# Of those that are not well; `--json` has all.
_MOST_SHOWN = 50


def over_universe(
    session: Session, work: str, series: list[str], start: str, end: str, on: str | None, *, partial_ok: bool
) -> None:
    """Do the work, show what came of it, and end with the exit code that fits."""
    with _engine(on) as executor, session.provider(make=work == "backfill") as provider, Bars() as bars:
        done = 0

        def count(part: UniverseReport) -> None:
            nonlocal done
            done += len(part)
            bars.advance("series", done, None if any("*" in one for one in series) else len(series))

        do = provider.backfill_many if work == "backfill" else provider.revalidate
        report = do(series, instant(start), instant(end), executor, on_done=count)
    show(session, report)
    session.emit(report.to_json())
    if code := exit_code_of(report, partial_ok=partial_ok):
        raise typer.Exit(code)


@contextmanager
def _engine(on: str | None) -> Iterator[Executor | None]:
    if on is None:
        yield None
        return
    from qmtl.runtime.coordination.engines import engine_on  # most commands need none

    with engine_on(on) as executor:
        yield executor


def show(session: Session, report: UniverseReport) -> None:
    """For people: the whole, then rules, then the series that are not well, the worst first."""
    from qmtl.foundation.states import STATES
    from qmtl.interfaces.cli.showing import facts_text
    from qmtl.interfaces.cli.tables import Rows
    from qmtl.runtime.conformance.rules import RULES
    from qmtl.runtime.conformance.universe import described

    states = ", ".join(f"{state} {count:,}" for state, count in report.states.items() if count)
    facts = [("range", str(report.span)), ("series", f"{len(report):,}"), ("outcome", report.outcome)]
    reasons = sorted(set().union(*(one.uncoordinated for one in report.series.values())))
    alone = [("uncoordinated", why) for why in reasons]
    session.show(facts_text([*facts, ("bars", states or "none"), *alone]))
    if report.rules:
        session.show(
            Rows(
                ("severity", "rule", "series", "bars", "meaning"),
                (
                    (RULES[rule].severity, rule, f"{series:,}", f"{found.bars:,}", RULES[rule].meaning)
                    for rule, series, found in report.rules
                ),
                prose=("meaning",),
            )
        )
    unwell = [(name, one) for name, one in report.worst_first if any(one.badness[:4])]
    if unwell:
        session.show(
            Rows(
                ("series", *STATES, "what is wrong", "next"),
                (
                    (
                        name,
                        *(f"{one.states.get(state, 0):,}" for state in STATES),
                        described(one),
                        _next(report, name, one),
                    )
                    for name, one in unwell[:_MOST_SHOWN]
                ),
                prose=("what is wrong", "next"),
            )
        )
    if len(unwell) > _MOST_SHOWN:
        session.show(f"... and {len(unwell) - _MOST_SHOWN:,} more series; --json has all")


def _next(report: UniverseReport, name: str, one: SeriesRollup) -> str:
    return next(
        (failure.next_step for failure in sorted(one.failures) if failure.next_step), report.command(name)
    )


def exit_code_of(report: UniverseReport, *, partial_ok: bool) -> int:
    """0, or the first that applies of `ORDER`."""
    by_kind = {"WorkerLost": 7}
    for base, code in reversed(EXIT_CODES):
        by_kind |= {kind.__name__: code for kind in _and_below(base)}
    codes = {by_kind.get(one.kind, DEFECT) for failures in report.failures.values() for one in failures}
    if not partial_ok:
        codes |= {3} if report.missing else set()
        codes |= {4} if report.errors or report.warnings else set()
    return min(codes, key=ORDER.index, default=0)


def _and_below(kind: type[BaseException]) -> set[type[BaseException]]:
    return {kind}.union(*map(_and_below, kind.__subclasses__()))
