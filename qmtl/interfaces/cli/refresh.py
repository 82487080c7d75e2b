"""`qmtl refresh`: ask the vendor again for bars that have an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from qmtl.interfaces.cli.arguments import End, Series, Start
from qmtl.interfaces.cli.session import JsonToo, instant, session_of

if TYPE_CHECKING:
    from qmtl.foundation.errors import MissingDataError
    from qmtl.runtime.sdk.corrections import RefreshResult


def refresh(ctx: typer.Context, series: Series, start: Start, end: End = None, json: JsonToo = False) -> None:
    """Ask the vendor again for bars that it has answered for.

    Bars whose rows were refused are asked for too. Changed bars are corrections: the new values win, the old
    ones stay readable with --as-of. A bar that the vendor no longer has is kept and named.
    """
    from qmtl.foundation.series import SeriesId
    from qmtl.interfaces.cli.guard import report_error
    from qmtl.interfaces.cli.known import check_known
    from qmtl.interfaces.cli.progress import Bars
    from qmtl.interfaces.cli.showing import facts_text, findings_table, frame_text, rows_json

    session = session_of(ctx)
    with session.provider(make=False) as provider, Bars() as bars:
        check_known(provider.store, SeriesId.parse(series))
        result = provider.refresh(series, instant(start), instant(end), on_progress=bars.backfilled)
    lines = dict(result.lines())
    if result.unconfirmed:
        lines["unconfirmed"] += "; 'qmtl retract' takes them away"
    lines["before"] += f"; read it with --as-of {result.before}"
    session.show(facts_text(lines.items()))
    if result.corrections.height:
        session.show(frame_text(result.corrections))
    if result.findings:
        session.show(findings_table([found.to_json() for found in result.findings], {}))
    if session.json:
        session.emit({**result.to_json(), "changes": rows_json(result.corrections)})
    if result.unanswered:
        raise typer.Exit(report_error(session, _unanswered(result)))


def _unanswered(result: RefreshResult) -> MissingDataError:
    from qmtl.foundation.errors import MissingDataError
    from qmtl.foundation.timeline import spans_text
    from qmtl.foundation.words import counted

    count = result.states.grid.count(result.unanswered)
    refused = f", and {counted(result.quarantined, 'row')} refused" if result.quarantined else ""
    return MissingDataError(
        f"{counted(count, 'bar')} asked for again and not answered: {spans_text(result.unanswered)}",
        holes={"unanswered": result.unanswered},
        series=result.series,
        span=result.span,
        why=f"the vendor answered without them{refused}; what was stored is kept",
        next_step="run it again later; 'qmtl doctor' asks the vendor whether it can be reached",
    )
