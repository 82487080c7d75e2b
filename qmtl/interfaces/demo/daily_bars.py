"""Act one: real daily bars on the calendar of their exchange."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from qmtl.foundation.errors import MissingDependencyError
from qmtl.foundation.grid import Grid
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import DAY, to_ns
from qmtl.interfaces.demo.stage import Stage
from qmtl.runtime.conformance.rules import PRICE_JUMP
from qmtl.runtime.sdk.import_commit import ImportResult
from qmtl.runtime.sdk.importing import import_file
from qmtl.runtime.sdk.provider import SeamlessDataProvider

SERIES = "ohlcv:demo:AAPL:1d"
SEPTEMBER = Span(to_ns("2001-09-01"), to_ns("2001-10-01"))


def daily_bars(stage: Stage, provider: SeamlessDataProvider) -> None:
    """Import thirteen years of AAPL, account for every session, and show a month that was not like others."""
    stage.act("Act one: real daily bars, and the calendar of their exchange")
    with stage.timed("import of AAPL from the package bokeh_sampledata, checked and committed"):
        imported = _import(provider)
    stage.say(f"  {imported.rows:,} rows in {imported.span}, calendar XNYS.")

    _accept_jumps(stage, provider, imported)
    result = provider.fetch(SERIES, imported.span.start, imported.span.end, strategy="FAIL_FAST")
    counts = result.coverage.counts
    sessions = counts["present"] + counts["no_trade"] + counts["absent"] + counts["unknown"]
    stage.say(f"  XNYS held {sessions:,} sessions in these years; {counts['closed']:,} days were closed.")
    stage.check("every session has its bar: nothing unknown, nothing absent", counts["present"] == sessions)

    month = provider.coverage(SERIES, SEPTEMBER.start, SEPTEMBER.end)
    stage.say("  September 2001, day by day (the exchange did not open from the 11th to the 14th):")
    stage.say("    " + _days(month.grid, result.frame))
    closed = [day for day in range(11, 15) if month.closed.contains(_day(day))]
    stage.check("the 11th to the 14th are closed, not missing", closed == [11, 12, 13, 14])
    stage.picture(month)


def _accept_jumps(stage: Stage, provider: SeamlessDataProvider, imported: ImportResult) -> None:
    """Show the jumps of the closes, which are real, and accept them: a fetch would raise otherwise."""
    for finding in imported.findings:
        if finding.rule == PRICE_JUMP:
            days = ", ".join(f"{day:%Y-%m-%d}" for day in finding.sample["ts"])
            stage.say(f"  {finding.severity} {finding.rule}: {finding.count} bars, {days}.")
    found, _ = provider.accept(SERIES, imported.span.start, imported.span.end, rules=[PRICE_JUMP])[PRICE_JUMP]
    stage.say(
        "  Two splits that the file does not adjust, and a fall by half on one day. All are real: accepted."
    )
    stage.check("every jump is found, stored and accepted, and nothing was dropped", found == 3)


def _import(provider: SeamlessDataProvider) -> ImportResult:
    """Write the sample data as a CSV file, and take the way that every file takes."""
    try:
        from bokeh_sampledata.stocks import AAPL
    except ModuleNotFoundError:
        raise MissingDependencyError("bokeh-sampledata", extra="demo") from None
    with TemporaryDirectory() as folder:
        path = Path(folder) / "AAPL.csv"
        pl.DataFrame(AAPL).write_csv(path)
        return import_file(provider, path, SERIES, calendar="XNYS")


def _day(day: int) -> Span:
    start = SEPTEMBER.start + (day - 1) * DAY
    return Span(start, start + DAY)


def _days(grid: Grid, frame: pl.DataFrame) -> str:
    """One mark per day: the day of the month where there is a bar, a dot where the exchange was closed."""
    stamps = set(frame["ts"].dt.date().to_list())
    days = pl.date_range(pl.date(2001, 9, 1), pl.date(2001, 9, 30), eager=True)
    expected = set(grid.stamps(grid.expected(SEPTEMBER)).tolist())
    marks = []
    for number, day in enumerate(days.to_list(), start=1):
        is_open = _day(number).start in expected
        marks.append(f"{number:2d}" if day in stamps else (" ?" if is_open else " ."))
    return " ".join(marks)
