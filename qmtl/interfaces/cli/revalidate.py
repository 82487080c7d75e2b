"""`qmtl revalidate`: judge again what is stored of any number of series."""

from __future__ import annotations

from typing import Annotated

import typer

from qmtl.interfaces.cli.session import JsonToo, session_of
from qmtl.interfaces.cli.universe_output import On, over_universe


def revalidate(
    ctx: typer.Context,
    series: Annotated[
        list[str],
        typer.Argument(metavar="SERIES", help="Node ids, or patterns of them.", show_default=False),
    ],
    start: Annotated[str, typer.Argument(metavar="START", help="Included.", show_default=False)],
    end: Annotated[str, typer.Argument(metavar="END", help="Not included.", show_default=False)],
    partial_ok: Annotated[
        bool,
        typer.Option("--partial-ok", help="Missing bars and findings are no failure."),
    ] = False,
    on: On = None,
    json: JsonToo = False,
) -> None:
    """Judge stored bars again, all series in one report.

    The bars are those of [START, END), and no vendor is asked. A pattern such as
    'ohlcv:binance:*' stands for the stored series that it matches. The exit code is the first that
    applies of 5, 7, 3, 6, 4, 2.
    """
    over_universe(session_of(ctx), "revalidate", series, start, end, on, partial_ok=partial_ok)
