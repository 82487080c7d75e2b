"""`qmtl backfill`: ask vendors for what the store does not have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from qmtl.interfaces.cli.guard import error_json, tell
from qmtl.interfaces.cli.session import JsonToo, instant, session_of

if TYPE_CHECKING:
    from qmtl.foundation.states import BarStates


def backfill(
    ctx: typer.Context,
    series: Annotated[list[str], typer.Argument(metavar="SERIES", show_default=False)],
    start: Annotated[str, typer.Argument(metavar="START", help="Included.", show_default=False)],
    end: Annotated[str, typer.Argument(metavar="END", help="Not included.", show_default=False)],
    json: JsonToo = False,
) -> None:
    """Ask vendors for what is missing in [START, END).

    Ctrl-C ends it at any time; what was committed stays, and the next run resumes from there.
    """
    from qmtl.foundation.errors import InvalidRequestError, QmtlError
    from qmtl.foundation.series import SeriesId
    from qmtl.foundation.states import STATES
    from qmtl.interfaces.cli.progress import Bars
    from qmtl.interfaces.cli.showing import states_json
    from qmtl.interfaces.cli.tables import Rows

    session = session_of(ctx)
    names = [SeriesId.parse(name).text for name in dict.fromkeys(series)]
    done: list[dict[str, Any]] = []
    rows: list[tuple[object, ...]] = []
    failures: list[QmtlError] = []
    codes: list[int] = []
    with session.provider() as provider:
        for name in names:
            try:
                with Bars() as bars:
                    states = provider.backfill(
                        name, instant(start), instant(end), on_progress=bars.backfilled
                    )
                done.append({"series": name, **states_json(states)})
                rows.append((name, *(f"{count:,}" for count in states.counts.values())))
                _refuse_holes(name, states)
            except InvalidRequestError:
                raise
            except QmtlError as error:
                # The other series may well be had; the first failure decides the exit code.
                failures.append(error)
                codes.append(tell(session, error))
    if rows:
        session.show(Rows(("series", *STATES), rows))
    session.emit({"series": done, "failures": [error_json(session, error) for error in failures]})
    if codes:
        raise typer.Exit(codes[0])


def _refuse_holes(name: str, states: BarStates) -> None:
    """Raise `StoreCorruptError` if bars are damaged, else `MissingDataError` if any are absent or unknown.

    Bars that have not closed are no holes.
    """
    from qmtl.foundation.clock import SystemClock
    from qmtl.foundation.errors import MissingDataError
    from qmtl.foundation.series import SeriesId
    from qmtl.foundation.timeline import Span
    from qmtl.runtime.io.store.damage import corrupt

    now = states.grid.floor(SystemClock().now())
    closed = Span(states.span.start, max(states.span.start, min(states.span.end, now)))
    if damaged := states.damaged.clip(closed):
        raise corrupt(SeriesId.parse(name), damaged, what="it did not heal", span=states.span)
    holes = {"unknown": states.unknown.clip(closed), "absent": states.absent.clip(closed)}
    counts = [f"{states.grid.count(cells):,} {state}" for state, cells in holes.items() if cells]
    if counts:
        raise MissingDataError(
            f"bars are still missing: {', '.join(counts)}",
            holes=holes,
            series=name,
            span=states.span,
            why="unknown: the source has not answered for them; absent: it says that it has none",
            next_step="'qmtl coverage' shows them; run it again later",
        )
