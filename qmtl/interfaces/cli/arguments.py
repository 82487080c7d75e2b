"""Arguments and options that several commands share, each defined once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Series = Annotated[
    str, typer.Argument(metavar="SERIES", help="ohlcv:VENUE:SYMBOL:TIMEFRAME", show_default=False)
]
Start = Annotated[str, typer.Argument(metavar="START", help="A date, an ISO time or nanoseconds; included.")]
End = Annotated[
    str | None, typer.Argument(metavar="END", help="Not included; without it, up to the last closed bar.")
]
AsOf = Annotated[
    str | None, typer.Option(metavar="WHEN", help="Read the store as it was then; asks no vendor.")
]
Output = Annotated[
    Path | None,
    typer.Option("-o", "--output", metavar="FILE", help="Write to .parquet, .csv, .arrow or .json."),
]
