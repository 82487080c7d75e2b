"""`qmtl retract`: make an earlier answer unknown."""

from __future__ import annotations

from typing import Annotated

import typer

from qmtl.interfaces.cli.arguments import Series, Start
from qmtl.interfaces.cli.session import JsonToo, instant, session_of


def retract(
    ctx: typer.Context,
    series: Series,
    start: Start,
    end: Annotated[str, typer.Argument(metavar="END", help="Not included.", show_default=False)],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; kept with the commit.")],
    json: JsonToo = False,
) -> None:
    """Make all bars in [START, END) unknown.

    Their rows and answers no longer count. They stay readable with --as-of. The next fetch asks the vendor.
    """
    from qmtl.foundation.series import SeriesId
    from qmtl.interfaces.cli.known import check_known
    from qmtl.interfaces.cli.showing import facts_text

    session = session_of(ctx)
    with session.provider(make=False) as provider:
        check_known(provider.store, SeriesId.parse(series))
        result = provider.retract(series, instant(start), instant(end), reason=reason)
    lines = dict(result.lines())
    lines["before"] += f"; read it with --as-of {result.before}"
    session.show(facts_text(lines.items()))
    session.emit(result.to_json())
