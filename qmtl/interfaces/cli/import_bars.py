"""`qmtl import`: a file of bars becomes part of the store, whole or not at all."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qmtl.interfaces.cli.arguments import as_path
from qmtl.interfaces.cli.session import JsonToo, instant, session_of
from qmtl.interfaces.cli.wording import in_words_of

if TYPE_CHECKING:
    from qmtl.runtime.sdk.import_commit import ImportResult


class Holes(StrEnum):
    unknown = "unknown"
    no_trade = "no_trade"


class Label(StrEnum):
    open = "open"
    close = "close"
    session = "session"


class Unit(StrEnum):
    s = "s"
    ms = "ms"
    us = "us"
    ns = "ns"
    excel = "excel"


class Anchor(StrEnum):
    clock = "clock"
    session = "session"


def import_bars(
    ctx: typer.Context,
    file: Annotated[
        Path | None,
        typer.Argument(parser=as_path, metavar="FILE", help="CSV, Parquet, Arrow or JSON, also packed."),
    ] = None,
    series: Annotated[
        str | None, typer.Option(metavar="SERIES", help="ohlcv:VENUE:SYMBOL:TIMEFRAME; --look needs none.")
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="MAP", help="ts=date,open=o,... or, without a header, ts,open,...; volume= has none."
        ),
    ] = None,
    tz: Annotated[
        str | None,
        typer.Option(metavar="ZONE", help="Zone of stamps without one, or ZONE+7h; else they are UTC."),
    ] = None,
    unit: Annotated[
        Unit | None, typer.Option(help="What numeric stamps count since 1970; excel: days.")
    ] = None,
    label: Annotated[
        Label, typer.Option(help="A stamp is the open or the close of its bar, or in its session.")
    ] = Label.open,
    scale: Annotated[
        str | None, typer.Option(metavar="MAP", help="Multiply: open,high,low,close=0.0001")
    ] = None,
    calendar: Annotated[
        str | None, typer.Option(metavar="NAME", help="Declare it: 24x7, FX, or a MIC such as XNYS.")
    ] = None,
    anchor: Annotated[
        Anchor | None, typer.Option(help="Declare it: whether hours start on the clock or at the open.")
    ] = None,
    ts_format: Annotated[
        str | None, typer.Option(metavar="FORMAT", help="How stamps are written: '%d.%m.%Y %H:%M'.")
    ] = None,
    date: Annotated[
        str | None, typer.Option(metavar="COL", help="The column of dates, where times stand apart.")
    ] = None,
    time: Annotated[str | None, typer.Option(metavar="COL", help="The column of times beside it.")] = None,
    decimal: Annotated[str | None, typer.Option(metavar="MARK", help="The decimal mark: . or ,")] = None,
    thousands: Annotated[
        str | None, typer.Option(metavar="MARK", help="What stands between thousands: , . ' _ or a blank.")
    ] = None,
    null: Annotated[str | None, typer.Option(metavar="WORDS", help="Words for no value: N/A,null,-")] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COL=VALUE", help='Only rows of which this holds; COL=* allows any, COL="A, B" a comma.'
        ),
    ] = None,
    encoding: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of a text file, such as cp1252; else UTF-8.")
    ] = None,
    skip_head: Annotated[int, typer.Option(metavar="N", help="Lines to leave out at the start.")] = 0,
    skip_foot: Annotated[int, typer.Option(metavar="N", help="Lines to leave out at the end.")] = 0,
    separator: Annotated[
        str | None, typer.Option(metavar="MARK", help="What stands between fields, such as ';' or tab.")
    ] = None,
    table: Annotated[
        str | None, typer.Option(metavar="PART", help="The member of a zip, or the keys of JSON: data.bars")
    ] = None,
    answered: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="START END", help="The file speaks for this range: no row, no trade."),
    ] = None,
    holes: Annotated[Holes, typer.Option(help="What a bar between the rows is: silence proves nothing.")] = (
        Holes.unknown
    ),
    partial_ok: Annotated[
        bool, typer.Option("--partial-ok", help="Keep impossible rows aside instead of refusing the file.")
    ] = False,
    look: Annotated[
        bool, typer.Option("--look", help="Import nothing: show what FILE holds, and the line that reads it.")
    ] = False,
    snapshot: Annotated[
        str | None,
        typer.Option(metavar="SOURCE", help="Load a snapshot of this folder, or of s3://BUCKET/PATH."),
    ] = None,
    number: Annotated[
        int | None, typer.Option(metavar="N", help="Of the snapshot; without it, the newest.")
    ] = None,
    json: JsonToo = False,
) -> None:
    """Check the bars of FILE and commit them, all at once.

    Or load a snapshot, with its coverage, declared facts and reports.
    """
    from qmtl.foundation.errors import ConformancePipelineError, InvalidRequestError
    from qmtl.interfaces.cli.look import add_look, show_look
    from qmtl.interfaces.cli.progress import Bars
    from qmtl.interfaces.cli.showing import facts_text, report_parts
    from qmtl.runtime.io.bar_files import ReadingOptions
    from qmtl.runtime.sdk.importing import import_file

    session = session_of(ctx)
    if snapshot is not None:
        from qmtl.interfaces.cli.snapshot import load

        load(ctx, snapshot, number, series)
        return
    if file is None or number is not None:
        raise InvalidRequestError(
            "no file is named" if file is None else "--number is of snapshots",
            next_step="name a FILE, or the place of a snapshot with --snapshot",
        )
    reading = ReadingOptions(
        columns=columns,
        tz=tz,
        unit=None if unit is None else unit.value,
        label=label.value,
        scale=scale,
        ts_format=ts_format,
        date=date,
        time=time,
        decimal=decimal,
        thousands=thousands,
        null=null,
        where=",".join(where or ()),
        encoding=encoding,
        skip_head=skip_head,
        skip_foot=skip_foot,
        separator=separator,
        table=table,
    )
    declared = {"calendar": calendar, "anchor": None if anchor is None else anchor.value}
    if look:
        show_look(session, file, series, declared, reading)
        return
    if series is None:
        raise InvalidRequestError(
            "no series is named",
            next_step="add --series ohlcv:VENUE:SYMBOL:TIMEFRAME, or --look to look at the file",
        )
    settings = session.settings()  # an error in them, or in the address of the store, is none of the file
    reads = True  # what fails once the file has been read is not about how it is read
    with Bars() as bars:

        def show(stage: str, done: int, total: int | None) -> None:
            nonlocal reads
            reads = reads and stage == "reading"
            bars.advance(f"{stage} {file.name}", done, total)

        try:
            result = import_file(
                settings,
                file,
                series,
                calendar=calendar,
                anchor=None if anchor is None else anchor.value,
                answered=answered and [instant(time) for time in answered],
                holes=holes.value,
                partial_ok=partial_ok,
                on_stage=show,
                **reading,
            )
        except (InvalidRequestError, ConformancePipelineError) as error:
            if reads:
                add_look(session, error, file, series, declared, reading)
            raise
    result = replace(result, notes=tuple(in_words_of(session.options, note) for note in result.notes))
    session.show(facts_text(_lines(result)), *report_parts(result.report))
    session.emit(result.to_json())


def _lines(result: ImportResult) -> list[tuple[str, str]]:
    from qmtl.runtime.sdk.fetch_errors import first_spans

    counts = ", ".join(f"{state} {count:,}" for state, count in result.counts.items() if count)
    became = {"added": result.added, "unchanged": result.unchanged, "replaced": result.replaced}
    became["kept aside"] = result.quarantined
    rows = ", ".join(f"{count:,} {what}" for what, count in became.items() if count)
    return [
        ("series", str(result.series)),
        ("file", result.path),
        ("rows", f"{result.rows:,}: {rows}"),
        ("range", str(result.span)),
        ("bars", counts or "none"),
        *(
            (state, first_spans(cells))
            for state, cells in (("unknown", result.states.unknown), ("absent", result.states.absent))
            if cells
        ),
        *(("note", text) for text in result.notes),
        *([("at risk", f"a loss of power: {result.at_risk}")] if result.at_risk else []),
    ]
