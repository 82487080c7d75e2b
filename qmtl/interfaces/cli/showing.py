"""What people read: frames, receipts, findings and tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl
from rich.console import Console
from rich.table import Table
from rich.text import Text

from qmtl.foundation.times import iso
from qmtl.interfaces.cli.bar_output import with_iso_times

if TYPE_CHECKING:
    from qmtl.foundation.states import BarStates
    from qmtl.runtime.conformance.report import ConformanceReport

STYLES = {
    "error": "bold red",
    "warning": "yellow",
    "info": "cyan",
    "ok": "green",
    "warn": "yellow",
    "fail": "bold red",
}


class PipeAwareConsole(Console):
    """Lets the caller hear that the reader has gone, where rich would end the process with exit code 1."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def frame_text(frame: pl.DataFrame) -> str:
    """Head and tail of a frame."""
    with pl.Config(tbl_rows=10, tbl_cols=-1, tbl_width_chars=200, tbl_formatting="UTF8_FULL_CONDENSED"):
        return str(frame)


def facts_text(rows: Iterable[tuple[str, str]]) -> str:
    """A name and a value a line."""
    return "\n".join(f"{name:<12} {value}" for name, value in rows)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """A plain table; a cell that is the name of a severity or an outcome is coloured."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    lines = [[str(cell) for cell in row] for row in rows]
    for number, column in enumerate(columns):
        counts = all(line[number].replace(",", "").isdecimal() for line in lines)
        # The first column is a name that people copy.
        made.add_column(
            column, overflow="fold", no_wrap=number == 0, justify="right" if counts and lines else "left"
        )
    for line in lines:
        made.add_row(*(Text(cell, STYLES.get(cell, "")) for cell in line))
    return made


def findings_table(findings: Iterable[Mapping[str, Any]], digest: Mapping[str, str]) -> Table:
    """Findings as a report's JSON holds them."""
    return table(
        ("severity", "rule", "bars", "accepted", "first", "last", "trend", "meaning"),
        (
            (
                found["severity"],
                found["rule"],
                f"{found['count']:,}",
                f"{found['accepted']:,}",
                found["first_ts"],
                found["last_ts"],
                digest.get(found["rule"], ""),
                found["meaning"],
            )
            for found in findings
        ),
    )


def report_parts(report: ConformanceReport) -> list[Table]:
    """The findings of a report; nothing if there are none."""
    if not report.findings:
        return []
    return [findings_table([found.to_json() for found in report.findings], dict(report.digest))]


def states_json(states: BarStates) -> dict[str, Any]:
    """Counts and spans of the five states; times are ISO 8601 UTC, ranges half-open."""
    return {
        "start": iso(states.span.start),
        "end": iso(states.span.end),
        "counts": states.counts,
        "spans": {name: [[iso(s), iso(e)] for s, e in cells] for name, cells in states.items()},
    }


def rows_json(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """An object per row; times are ISO 8601 UTC."""
    return with_iso_times(frame).to_dicts()
