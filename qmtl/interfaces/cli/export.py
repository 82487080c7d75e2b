"""`qmtl export` and `qmtl diff`: what the store holds, and what changed in it, for other tools."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qmtl.interfaces.cli.arguments import AsOf, Output, Series, as_path
from qmtl.interfaces.cli.session import JsonToo, commit_time, instant, session_of

if TYPE_CHECKING:
    import polars as pl

    from qmtl.foundation.series import SeriesId
    from qmtl.foundation.timeline import Span
    from qmtl.interfaces.cli.progress import Bars
    from qmtl.runtime.io.sql.upkeep import KeptStore
    from qmtl.runtime.io.store.values import Snapshot

# Bars that are in memory at once.
PIECE = 500_000


def export(
    ctx: typer.Context,
    series: Annotated[
        str | None,
        typer.Argument(metavar="SERIES", help="ohlcv:VENUE:SYMBOL:TIMEFRAME; a snapshot has all without it."),
    ] = None,
    start: Annotated[
        str | None, typer.Argument(metavar="START", help="Without it, from the first bar.")
    ] = None,
    end: Annotated[str | None, typer.Argument(metavar="END", help="Without it, to the last bar.")] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", parser=as_path, metavar="FILE", help=".parquet, .csv, .arrow or .json"
        ),
    ] = None,
    snapshot: Annotated[
        str | None,
        typer.Option(metavar="DEST", help="Write a snapshot to this folder, or to s3://BUCKET/PATH."),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option("--format", metavar="delta", help="With --snapshot: a table of Delta Lake instead."),
    ] = None,
    as_of: AsOf = None,
    partial_ok: Annotated[
        bool, typer.Option("--partial-ok", help="Write what can be read, where a part of it is damaged.")
    ] = False,
    json: JsonToo = False,
) -> None:
    """Write stored bars to a file, or to a snapshot.

    Asks no vendor, and checks nothing but that the bytes are those that were stored: exit 7, and no file,
    where they are not.
    """
    from qmtl.foundation.errors import InvalidRequestError
    from qmtl.foundation.series import SeriesId
    from qmtl.foundation.timeline import EMPTY
    from qmtl.foundation.times import iso
    from qmtl.foundation.words import counted
    from qmtl.interfaces.cli.bar_output import check_target, write_frames
    from qmtl.interfaces.cli.progress import Bars
    from qmtl.runtime.io.store.damage import corrupt

    session = session_of(ctx)
    point = None if as_of is None else commit_time(as_of, "--as-of")
    if (snapshot is None) == (output is None):
        raise InvalidRequestError(
            "it is not said where to" if output is None else "-o and --snapshot cannot stand together",
            next_step="name a file with -o, or the place of a snapshot with --snapshot",
        )
    if snapshot is not None:
        from qmtl.interfaces.cli.snapshot import write, write_table

        if partial_ok:
            raise InvalidRequestError(
                "--partial-ok cannot stand with --snapshot",
                why="a snapshot is whole, or it is not",
                next_step="repair the store with 'qmtl store verify --repair', and fetch what was lost",
            )
        if form is not None:
            write_table(session, form, snapshot, series, start, end, point)
            return
        write(session, snapshot, series, start, end, point)
        return
    if form is not None:
        raise InvalidRequestError(
            "--format stands with --snapshot", next_step="the ending of FILE says the format of a file"
        )
    assert output is not None
    if series is None:
        raise InvalidRequestError(
            "no series is named", next_step="name one; 'qmtl store info' lists what the store has"
        )
    name = SeriesId.parse(series)
    check_target(session, series, output)
    rows, damaged = 0, EMPTY
    with session.open_store(read_only=True) as store:
        span = _span(store, name, start, end)
        at = store.read(name, span.clip(span._replace(end=span.start)), as_of=point).as_of
        with Bars() as bars:

            def counted_frames() -> Iterator[pl.DataFrame]:
                nonlocal rows, damaged
                for piece in _pieces(store, name, span, at if point is None else point, bars):
                    rows += piece.count
                    damaged |= piece.damaged
                    if damaged and not partial_ok:
                        # A piece that is damaged ends it here; what is wanted is the whole list.
                        continue
                    yield piece.frame
                if damaged and not partial_ok:
                    raise corrupt(name, damaged, what="nothing was written", span=span, path=store.location)

            write_frames(output, counted_frames())
    when = f"as of {iso(at)}" if at else "before the first commit"
    session.show(f"{counted(rows, 'bar')} of {name} in {span}, {when}, written to {output}")
    if damaged:
        from qmtl.runtime.sdk.fetch_errors import first_spans

        session.show(f"left out, for it is damaged: {first_spans(damaged)}")
    session.emit(
        {
            "series": str(name),
            "start": iso(span.start),
            "end": iso(span.end),
            "as_of": at,
            "as_of_iso": iso(at),
            "rows": rows,
            "damaged": [[iso(s), iso(e)] for s, e in damaged],
            "output": str(output),
        }
    )


def _span(store: KeptStore, series: SeriesId, start: str | None, end: str | None) -> Span:
    """The requested span; ends that were left out are those of the stored bars, lost ones among them."""
    from qmtl.foundation.errors import InvalidRequestError
    from qmtl.foundation.timeline import Coverage, Span
    from qmtl.foundation.times import iso, to_ns

    spans = [lost.span for lost in store.lost(series)]
    step = series.timeframe.step
    for known in store.list_series():
        if known.series == series and known.span is not None:
            spans.append(Span(known.span.start, known.span.end + step))
    if not spans:
        raise InvalidRequestError(
            "the store has no bars of this series",
            series=series,
            next_step="'qmtl store info' lists what it has",
        )
    stored = Coverage(spans).hull
    first = stored.start if start is None else to_ns(instant(start), name="START")
    last = stored.end if end is None else to_ns(instant(end), name="END")
    if first > last and (start is None or end is None):
        given = f"START {iso(first)} comes after" if end is None else f"END {iso(last)} comes before"
        raise InvalidRequestError(
            f"{given} all bars that are stored",
            series=series,
            why=f"the store has bars in {stored}",
            next_step="name a time within this range",
        )
    if first > last:
        raise InvalidRequestError(
            f"START {iso(first)} comes after END {iso(last)}", series=series, next_step="exchange them"
        )
    return Span(first, last)


def _pieces(store: KeptStore, series: SeriesId, span: Span, as_of: int, bars: Bars) -> Iterator[Snapshot]:
    """The rows in stretches that fit into memory, all as of one commit; at least one."""
    from qmtl.foundation.timeline import Span

    step = PIECE * series.timeframe.step
    starts = range(span.start, max(span.end, span.start + 1), step)
    for number, start in enumerate(starts):
        yield store.read(series, Span(start, min(start + step, span.end)), as_of=as_of)
        bars.advance(f"writing {series}", number + 1, len(starts))


def diff(
    ctx: typer.Context,
    series: Series,
    as_of_a: Annotated[str, typer.Argument(metavar="AS_OF_A", help="A commit time: ISO, or from a receipt.")],
    as_of_b: Annotated[str, typer.Argument(metavar="AS_OF_B", help="A later one.")],
    output: Output = None,
    partial_ok: Annotated[
        bool, typer.Option("--partial-ok", help="Leave out ranges in which damage hides what changed.")
    ] = False,
    json: JsonToo = False,
) -> None:
    """Rows that changed between two commits, old and new."""
    from qmtl.foundation.errors import StoreCorruptError
    from qmtl.foundation.series import SeriesId
    from qmtl.foundation.timeline import EMPTY
    from qmtl.foundation.times import iso
    from qmtl.interfaces.cli.bar_output import check_target, write_frames
    from qmtl.interfaces.cli.known import check_known
    from qmtl.interfaces.cli.showing import frame_text, rows_json

    session = session_of(ctx)
    name = SeriesId.parse(series)
    check_target(session, series, output)
    points = (commit_time(as_of_a, "AS_OF_A"), commit_time(as_of_b, "AS_OF_B"))
    with session.open_store(read_only=True) as store:
        check_known(store, name)
        try:
            changes, damaged = store.diff(name, *points), EMPTY
        except StoreCorruptError as error:
            if not partial_ok or error.damaged is None:
                raise
            changes, damaged = store.diff(name, *points, partial_ok=True), error.damaged
    if output is not None:
        write_frames(output, [changes])
    counts = dict(changes.group_by("change", maintain_order=True).len().iter_rows())
    summary = ", ".join(f"{count:,} {what}" for what, count in sorted(counts.items())) or "nothing changed"
    session.show(*([frame_text(changes)] if changes.height else []), f"{name}: {summary}")
    for span in damaged:
        session.show(f"left out, for it is damaged: {span}")
    if session.json:
        document = {"series": str(name), "counts": counts, "changes": rows_json(changes)}
        session.emit({**document, "damaged": [[iso(s), iso(e)] for s, e in damaged]})
