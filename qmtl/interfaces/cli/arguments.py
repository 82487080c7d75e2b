"""Arguments and options that several commands share, each defined once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def as_path(text: str) -> Path:
    """How a path is read everywhere: not from an empty text, which `Path` takes for this folder.

    That is what the shell makes of a variable that is not set.
    """
    if not text.strip() or "\0" in text:
        raise typer.BadParameter(f"a path is needed, and {text!r} is none; . is this folder")
    return Path(text)


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
    typer.Option(
        "-o", "--output", parser=as_path, metavar="FILE", help="Write to .parquet, .csv, .arrow or .json."
    ),
]
