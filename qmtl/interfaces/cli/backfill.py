"""`qmtl backfill`: ask vendors for what the store does not have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from qmtl.interfaces.cli.guard import error_json, report_error
from qmtl.interfaces.cli.session import JsonToo, instant, session_of
from qmtl.interfaces.cli.universe_output import ORDER, On, over_universe

if TYPE_CHECKING:
    from qmtl.foundation.errors import QmtlError
    from qmtl.foundation.states import BarStates
    from qmtl.runtime.io.coverage_scan import Refused


def backfill(
    ctx: typer.Context,
    series: Annotated[list[str], typer.Argument(metavar="SERIES", show_default=False)],
    start: Annotated[str, typer.Argument(metavar="START", help="Included.", show_default=False)],
    end: Annotated[str, typer.Argument(metavar="END", help="Not included.", show_default=False)],
    partial_ok: Annotated[
        bool,
        typer.Option("--partial-ok", help="Bars that stay missing are no failure."),
    ] = False,
    detach: Annotated[
        bool,
        typer.Option("--detach", help="Queue it for workers ('qmtl worker'), and wait for nothing."),
    ] = False,
    on: On = None,
    json: JsonToo = False,
) -> None:
    """Ask vendors for what is missing in [START, END).

    Ctrl-C ends it at any time; what was committed stays, and the next run resumes from there. A
    series that fails does not stop the others; the exit code is the first that applies of 5, 7, 3, 6, 4, 2.
    With --on an engine does the work, what is stored is judged as well, and SERIES may be patterns.
    """
    from qmtl.foundation.clock import SystemClock
    from qmtl.foundation.errors import InvalidRequestError
    from qmtl.foundation.series import SeriesId
    from qmtl.foundation.states import STATES
    from qmtl.interfaces.cli.progress import Bars
    from qmtl.interfaces.cli.showing import states_json
    from qmtl.interfaces.cli.tables import Rows
    from qmtl.runtime.io.coverage_scan import refused

    session = session_of(ctx)
    if on is not None:
        if detach:
            raise InvalidRequestError(
                "--detach and --on do not go together",
                why="workers do what is queued, and an engine what is asked for now",
                next_step="give one of them",
            )
        over_universe(session, "backfill", series, start, end, on, partial_ok=partial_ok)
        return
    if detach:
        from qmtl.interfaces.cli.detach import detach_backfill

        detach_backfill(session, series, start, end)
        return
    names = list(series) if partial_ok else [SeriesId.parse(name).text for name in series]
    with session.provider() as provider, Bars() as bars:
        result = provider.backfill(
            names, instant(start), instant(end), partial_ok=True, on_progress=bars.backfilled
        )
        now = SystemClock().now()
        refused_bars = {
            name: refused(provider.store, SeriesId.parse(name), states.unknown, states.grid, now=now)
            for name, states in result.states.items()
        }
    failures = dict(result.errors)
    if not partial_ok:
        holes = {
            name: _holes(name, states, refused_bars[name], now) for name, states in result.states.items()
        }
        failures |= {name: error for name, error in holes.items() if error is not None}
    if result.states:
        session.show(
            Rows(
                ("series", *STATES),
                (
                    (name, *(f"{count:,}" for count in states.counts.values()))
                    for name, states in result.states.items()
                ),
            )
        )
    alone = {name: states.uncoordinated for name, states in result.states.items() if states.uncoordinated}
    for why in dict.fromkeys(alone.values()):
        of = [name for name, one in alone.items() if one == why]
        which = of[0] if len(of) == 1 else f"{len(of):,} series"
        session.note(f"note: {which} uncoordinated, so that others may have asked for the same bars: {why}")
    named = {name: failures[name] for name in dict.fromkeys(names) if name in failures}
    codes = [report_error(session, error) for error in named.values()]
    session.emit(
        {
            "series": [
                {"series": name, **states_json(states), "uncoordinated": states.uncoordinated}
                for name, states in result.states.items()
            ],
            "failures": [error_json(session, error) for error in named.values()],
        }
    )
    if codes:
        raise typer.Exit(min(codes, key=ORDER.index))


def _holes(name: str, states: BarStates, refused_bars: Refused, now: int) -> QmtlError | None:
    """What to say of closed bars that are damaged, or else absent or unknown; None if there are none."""
    from qmtl.foundation.errors import MissingDataError
    from qmtl.foundation.series import SeriesId
    from qmtl.foundation.timeline import Span
    from qmtl.runtime.io.store.damage import corrupt
    from qmtl.runtime.sdk.fetch_errors import describe_resting

    closed_until = min(states.span.end, states.grid.floor(now))
    closed = Span(states.span.start, max(states.span.start, closed_until))
    if damaged := states.damaged.clip(closed):
        return corrupt(SeriesId.parse(name), damaged, what="it did not heal", span=states.span)
    holes = {"unknown": states.unknown.clip(closed), "absent": states.absent.clip(closed)}
    counts = [f"{states.grid.count(cells):,} {state}" for state, cells in holes.items() if cells]
    if not counts:
        return None
    why = "unknown: the source has not answered for them; absent: it says that it has none"
    next_step = "'qmtl coverage' shows them; run it again later"
    if refused_bars.until is not None:
        why += f"; {describe_resting(states.grid, refused_bars.resting, refused_bars.until)}"
        next_step += "; 'qmtl refresh' asks for refused bars now"
    return MissingDataError(
        f"bars are still missing: {', '.join(counts)}",
        holes=holes,
        series=name,
        span=states.span,
        why=why,
        next_step=next_step,
    )
