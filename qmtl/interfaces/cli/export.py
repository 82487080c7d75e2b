"""`qmtl export` and `qmtl diff`: what the store holds, and what changed in it, for other tools."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qmtl.interfaces.cli.arguments import AsOf, Output, Series
from qmtl.interfaces.cli.session import JsonToo, instant, session_of

if TYPE_CHECKING:
    import polars as pl

    from qmtl.foundation.series import SeriesId
    from qmtl.foundation.timeline import Span
    from qmtl.interfaces.cli.progress import Bars
    from qmtl.runtime.io.store.embedded import EmbeddedStore

# Bars that are held in memory at once.
PIECE = 500_000


def export(
    ctx: typer.Context,
    series: Series,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help=".parquet, .csv, .arrow or .json")
    ],
    start: Annotated[
        str | None, typer.Argument(metavar="START", help="Without it, from the first bar.")
    ] = None,
    end: Annotated[str | None, typer.Argument(metavar="END", help="Without it, to the last bar.")] = None,
    as_of: AsOf = None,
    json: JsonToo = False,
) -> None:
    """Write stored bars to a file, as they are.

    Asks no vendor, and checks nothing.
    """
    from qmtl.foundation.series import SeriesId
    from qmtl.foundation.times import iso, to_ns
    from qmtl.interfaces.cli.bar_output import check_target, write_frames
    from qmtl.interfaces.cli.progress import Bars

    session = session_of(ctx)
    name = SeriesId.parse(series)
    check_target(output)
    point = None if as_of is None else to_ns(instant(as_of), name="--as-of")
    rows = 0
    with session.open_store(read_only=True) as store:
        span = _span(store, name, start, end)
        at = store.read(name, span.clip(span._replace(end=span.start)), as_of=point).as_of
        with Bars() as bars:

            def counted() -> Iterator[pl.DataFrame]:
                nonlocal rows
                for frame in _pieces(store, name, span, at if point is None else point, bars):
                    rows += frame.height
                    yield frame

            write_frames(output, counted())
    session.show(f"{rows:,} bars of {name} in {span}, as of {iso(at)}, written to {output}")
    session.emit(
        {
            "series": str(name),
            "start": iso(span.start),
            "end": iso(span.end),
            "as_of": at,
            "as_of_iso": iso(at),
            "rows": rows,
            "output": str(output),
        }
    )


def _span(store: EmbeddedStore, series: SeriesId, start: str | None, end: str | None) -> Span:
    """What was asked for; ends that were left out are those of the stored rows."""
    from qmtl.foundation.errors import InvalidRequestError
    from qmtl.foundation.timeline import Span
    from qmtl.foundation.times import iso, to_ns

    stored = next((known.span for known in store.list_series() if known.series == series), None)
    if stored is None:
        raise InvalidRequestError(
            "the store has no bars of this series",
            series=series,
            next_step="'qmtl store info' lists what it has",
        )
    first = stored.start if start is None else to_ns(instant(start), name="START")
    last = stored.end + 1 if end is None else to_ns(instant(end), name="END")
    if first > last:
        raise InvalidRequestError(
            f"START {iso(first)} comes after END {iso(last)}", series=series, next_step="exchange them"
        )
    return Span(first, last)


def _pieces(
    store: EmbeddedStore, series: SeriesId, span: Span, as_of: int, bars: Bars
) -> Iterator[pl.DataFrame]:
    """The rows in stretches that fit into memory, all as of one commit; at least one frame."""
    from qmtl.foundation.timeline import Span

    step = PIECE * series.timeframe.step
    starts = range(span.start, max(span.end, span.start + 1), step)
    for number, start in enumerate(starts):
        yield store.read(series, Span(start, min(start + step, span.end)), as_of=as_of).frame
        bars.advance(f"writing {series}", number + 1, len(starts))


def diff(
    ctx: typer.Context,
    series: Series,
    as_of_a: Annotated[str, typer.Argument(metavar="AS_OF_A", help="A commit time: ISO, or from a receipt.")],
    as_of_b: Annotated[str, typer.Argument(metavar="AS_OF_B", help="A later one.")],
    output: Output = None,
    json: JsonToo = False,
) -> None:
    """Rows that changed between two commits, old and new."""
    from qmtl.foundation.series import SeriesId
    from qmtl.foundation.times import to_ns
    from qmtl.interfaces.cli.bar_output import check_target, write_frames
    from qmtl.interfaces.cli.showing import frame_text, rows_json

    session = session_of(ctx)
    name = SeriesId.parse(series)
    check_target(output)
    points = (to_ns(instant(as_of_a), name="AS_OF_A"), to_ns(instant(as_of_b), name="AS_OF_B"))
    with session.open_store(read_only=True) as store:
        changes = store.diff(name, *points)
    if output is not None:
        write_frames(output, [changes])
    counts = dict(changes.group_by("change", maintain_order=True).len().iter_rows())
    told = ", ".join(f"{count:,} {what}" for what, count in sorted(counts.items())) or "nothing changed"
    session.show(*([frame_text(changes)] if changes.height else []), f"{name}: {told}")
    if session.json:
        session.emit({"series": str(name), "counts": counts, "changes": rows_json(changes)})
