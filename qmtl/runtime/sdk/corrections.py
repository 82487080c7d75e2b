"""What asking again, and taking back an answer, did to the bars of a series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.frames import TS
from qmtl.foundation.html import facts_table
from qmtl.foundation.series import SeriesId
from qmtl.foundation.states import BarStates
from qmtl.foundation.texts import fact_lines, on_screen
from qmtl.foundation.timeline import Coverage, Span, spans_text
from qmtl.foundation.times import iso
from qmtl.foundation.words import counted
from qmtl.runtime.conformance.findings import Finding
from qmtl.runtime.io.store.values import ALL_TIME, CommitInfo
from qmtl.runtime.sdk.receipt import spans_json

_COMMITS = pl.Schema(
    {
        "as_of": pl.Int64(),
        "committed_at": TS,
        "kind": pl.String(),
        "start": TS,
        "end": TS,
        "writer": pl.String(),
        "reason": pl.String(),
    }
)
_LONGEST_REASON = 1_000


@dataclass(frozen=True, eq=False, repr=False)
class RefreshResult:
    """What a vendor answered when it was asked again.

    asked: the bars that had an answer, and were asked for again. answered: those it answered for this time,
        with rows that are possible or without one.
    corrections: rows that differ now: `ts`, `change` (added, changed), `old_open` ... `new_volume`.
    unconfirmed: bars whose stored row the vendor no longer has. They are kept: an answer without them may be
        a slip of the vendor. `retract` takes them away.
    quarantined: impossible rows of this answer; the rows stored before are kept.
    findings: those of the impossible rows, and those of the range from the first to the last correction.
    states: of each bar of the range now. before, as_of: commit times (ns) before and after.
    """

    series: SeriesId
    span: Span
    asked: Coverage
    answered: Coverage
    corrections: pl.DataFrame
    unconfirmed: Coverage
    quarantined: int
    findings: Sequence[Finding]
    states: BarStates
    before: int
    as_of: int

    @property
    def unanswered(self) -> Coverage:
        """The bars that were asked for again, and that the vendor did not answer for, or wrongly."""
        return self.asked - self.answered

    def __repr__(self) -> str:
        return on_screen(["RefreshResult", *fact_lines(self.lines())])

    def _repr_html_(self) -> str:
        return facts_table(self.lines())

    def lines(self) -> list[tuple[str, str]]:
        """What a person reads, a fact a line."""
        count = self.states.grid.count
        by_change = dict(self.corrections.group_by("change", maintain_order=True).len().iter_rows())
        corrected = ", ".join(f"{n:,} {change}" for change, n in sorted(by_change.items())) or "none"
        lines = [
            ("series", str(self.series)),
            ("range", str(self.span)),
            (
                "asked again",
                f"{counted(count(self.asked), 'bar')}, {count(self.answered & self.asked):,} answered",
            ),
            ("corrections", corrected),
        ]
        if self.unanswered:
            lines.append(("unanswered", f"{spans_text(self.unanswered)}; what was stored is kept"))
        if self.unconfirmed:
            kept = "the vendor no longer has these bars; they are kept"
            lines.append(("unconfirmed", f"{spans_text(self.unconfirmed)}: {kept}"))
        if self.quarantined:
            rules = ", ".join(sorted({found.rule for found in self.findings if found.severity == "error"}))
            kept = f"{self.quarantined:,} impossible rows ({rules}); the old ones are kept"
            lines.append(("quarantined", kept))
        return [*lines, ("before", f"{iso(self.before)} ({self.before})")]

    def to_json(self) -> dict[str, Any]:
        """JSON values; times are ISO 8601 UTC, ranges half-open, commit times also in ns."""
        count = self.states.grid.count
        return {
            "series": str(self.series),
            "range": {"start": iso(self.span.start), "end": iso(self.span.end)},
            "asked": count(self.asked),
            "answered": count(self.answered & self.asked),
            "unanswered": spans_json(self.unanswered),
            "corrections": self.corrections.height,
            "unconfirmed": spans_json(self.unconfirmed),
            "quarantined": self.quarantined,
            "findings": [finding.to_json() for finding in self.findings],
            "coverage": self.states.counts,
            "before": self.before,
            "as_of": self.as_of,
        }


@dataclass(frozen=True, repr=False)
class RetractResult:
    """What was taken back.

    rows: how many are no longer served. changed: False if nothing was known of the range.
    before, as_of: commit times (ns) before and after; `fetch(..., as_of=before)` still reads the rows.
    """

    series: SeriesId
    span: Span
    rows: int
    changed: bool
    before: int
    as_of: int

    def __repr__(self) -> str:
        return on_screen(["RetractResult", *fact_lines(self.lines())])

    def _repr_html_(self) -> str:
        return facts_table(self.lines())

    def lines(self) -> list[tuple[str, str]]:
        """What a person reads, a fact a line."""
        rows = f"{counted(self.rows, 'row')} and the answers of the range"
        return [
            ("series", str(self.series)),
            ("range", str(self.span)),
            ("retracted", rows if self.changed else "nothing was known; nothing changed"),
            ("before", f"{iso(self.before)} ({self.before})"),
        ]

    def to_json(self) -> dict[str, Any]:
        """JSON values; times are ISO 8601 UTC, ranges half-open, commit times also in ns."""
        return {
            "series": str(self.series),
            "range": {"start": iso(self.span.start), "end": iso(self.span.end)},
            "rows": self.rows,
            "changed": self.changed,
            "before": self.before,
            "as_of": self.as_of,
        }


def check_any_bar(series: SeriesId, asked: Span, aligned: Span) -> None:
    """Raises `InvalidRequestError` where no bar opens in the range that was asked for."""
    if aligned.is_empty and not asked.is_empty:
        raise InvalidRequestError(
            "no bar of the series opens in the range",
            series=series,
            span=asked,
            why=f"bars of {series.timeframe} are kept by the time at which they open",
            next_step="name a range that holds the open of each bar that is meant",
        )


def checked_reason(reason: Any, series: SeriesId) -> str:
    """The reason of a retraction. Raises `InvalidRequestError` if it is empty or too long."""
    if not isinstance(reason, str) or not reason.strip() or len(reason) > _LONGEST_REASON:
        raise InvalidRequestError(
            f"reason={reason!r:.80} is not a reason",
            series=series,
            why=f"it is kept with the commit, for whoever asks later; up to {_LONGEST_REASON:,} characters",
            next_step="write in a few words why these bars cannot be trusted",
        )
    return reason.strip()


def commits_frame(commits: Sequence[CommitInfo]) -> pl.DataFrame:
    """Columns as_of (Int64, ns), committed_at, kind, start, end (ns UTC), writer, reason; oldest first.

    start and end are null where a commit bears on the whole series, or on no bar.
    """
    rows = [(one.as_of, one.as_of, one.kind, *_bounds(one.span), one.writer, one.reason) for one in commits]
    plain = pl.Schema({name: pl.Int64() if kind == TS else kind for name, kind in _COMMITS.items()})
    frame = pl.DataFrame(rows, schema=plain, orient="row")
    return frame.with_columns(pl.col(name).cast(kind) for name, kind in _COMMITS.items())


def _bounds(span: Span) -> tuple[int | None, int | None]:
    return (None, None) if span == ALL_TIME or span.is_empty else (span.start, span.end)
