"""What people read: frames, receipts, findings and tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import polars as pl

from qmtl.foundation.times import iso
from qmtl.foundation.words import counted
from qmtl.interfaces.cli.bar_output import with_iso_times
from qmtl.interfaces.cli.tables import Rows

if TYPE_CHECKING:
    from qmtl.foundation.states import BarStates
    from qmtl.runtime.conformance.report import ConformanceReport


def frame_text(frame: pl.DataFrame) -> str:
    """Head and tail of a frame."""
    with pl.Config(tbl_rows=10, tbl_cols=-1, tbl_width_chars=200, tbl_formatting="UTF8_FULL_CONDENSED"):
        return str(frame)


def facts_text(rows: Iterable[tuple[str, str]]) -> str:
    """A name and a value a line."""
    return "\n".join(f"{name:<12} {value}" for name, value in rows)


def findings_table(findings: Iterable[Mapping[str, Any]], digest: Mapping[str, str]) -> Rows:
    """Findings as a report's JSON holds them."""
    return Rows(
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
        prose=("meaning",),
    )


def report_parts(report: ConformanceReport) -> list[Rows | str]:
    """What could not be judged, and the findings; nothing if there are none."""
    parts: list[Rows | str] = []
    if report.could_not_check:
        parts.append(facts_text(not_judged(item._asdict()) for item in report.could_not_check))
    if report.findings:
        parts.append(findings_table([found.to_json() for found in report.findings], dict(report.digest)))
    return parts


def not_judged(unchecked: Mapping[str, Any]) -> tuple[str, str]:
    """What could not be checked, as a report's JSON holds it, as a name and a value."""
    return ("not judged", f"{unchecked['rule']}: {counted(unchecked['bars'], 'bar')}, {unchecked['why']}")


def states_json(states: BarStates) -> dict[str, Any]:
    """Counts and spans of the five states, and what is damaged; times are ISO 8601 UTC, ranges half-open."""
    return {
        "start": iso(states.span.start),
        "end": iso(states.span.end),
        "counts": states.counts,
        "spans": {name: [[iso(s), iso(e)] for s, e in cells] for name, cells in states.items()},
        "damaged": [[iso(s), iso(e)] for s, e in states.damaged],
    }


def rows_json(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """An object per row; times are ISO 8601 UTC."""
    return with_iso_times(frame).to_dicts()
