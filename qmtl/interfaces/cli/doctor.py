"""`qmtl doctor`: what is installed, reachable and writable, and how to fix what is not."""

from __future__ import annotations

from typing import Annotated

import typer

from qmtl.interfaces.cli.session import JsonToo, session_of

# Exit code where a check fails: something that a command would need is unavailable.
UNAVAILABLE = 7


def doctor(
    ctx: typer.Context,
    venues: Annotated[
        list[str] | None,
        typer.Argument(metavar="VENUE", help="Exchanges to contact, such as binance.", show_default=False),
    ] = None,
    json: JsonToo = False,
) -> None:
    """What is installed, reachable and writable, and how to fix it."""
    from qmtl.interfaces.cli.examination import examine
    from qmtl.interfaces.cli.progress import Bars
    from qmtl.interfaces.cli.tables import Rows

    session = session_of(ctx)
    with Bars() as bars:
        bars.advance("looking", 0, None)
        checks = list(examine(session, venues or ()))
    rows = ((check.outcome, check.subject, check.detail, check.fix) for check in checks)
    session.show(Rows(("outcome", "what", "found", "to fix it"), rows, prose=("found", "to fix it")))
    session.emit([check._asdict() for check in checks])
    if any(check.outcome == "fail" for check in checks):
        raise typer.Exit(UNAVAILABLE)
