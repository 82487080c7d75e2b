"""What several series give at once: the answers of those that have one, and the errors of the others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import polars as pl

from qmtl.foundation.errors import InvalidRequestError, QmtlError
from qmtl.foundation.frames import VALUES
from qmtl.foundation.html import table, title
from qmtl.foundation.pickled import pickled
from qmtl.foundation.states import STATES, BarStates, uncoordinated_words
from qmtl.foundation.texts import on_screen
from qmtl.foundation.words import counted
from qmtl.runtime.sdk.later_answers import Answers
from qmtl.runtime.sdk.panel_frames import long_frame, wide_frame
from qmtl.runtime.sdk.receipt import Receipt
from qmtl.runtime.sdk.results import FetchResult

T = TypeVar("T")

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


@dataclass(frozen=True)
class FetchManyResult:
    """The answers to several fetches.

    results: by node id, in the order asked. errors: of the series that have no answer (only with
    `partial_ok`), by node id. `r[series]` is the answer of one series, or raises its error; `in`, `len` and
    iteration are of those that have an answer.
    """

    results: Mapping[str, FetchResult]
    errors: Mapping[str, QmtlError] = field(default_factory=dict)

    @cached_property
    def frame(self) -> pl.DataFrame:
        """Long format: a `series` column first; series in the order asked, each sorted by ts."""
        return long_frame(self._frames())

    def wide(self, column: str) -> pl.DataFrame:
        """One column of the bars, of all series side by side.

        column: one of open, high, low, close, volume. `ts` (every time at which any of the series has a bar,
            ascending, unique), then a Float64 column per series with an answer, named by its node id, in the
            order asked; null where a series has no bar then: nothing is filled. Raises
            `InvalidRequestError` for any other name.
        """
        if column not in VALUES:
            raise InvalidRequestError(
                f"{column!r} is no column of bars", next_step=f"use one of {', '.join(VALUES)}"
            )
        return wide_frame(self._frames(), column)

    def _frames(self) -> dict[str, pl.DataFrame]:
        if isinstance(self.results, Answers):
            return self.results.frames()
        return {name: result.frame for name, result in self.results.items()}

    @property
    def receipts(self) -> dict[str, Receipt]:
        """The receipt of each answer, by node id."""
        return {name: result.receipt for name, result in self.results.items()}

    def __getitem__(self, series: object) -> FetchResult:
        return _one(self.results, self.errors, series)

    def __contains__(self, series: object) -> bool:
        return str(series) in self.results

    def __iter__(self) -> Iterator[str]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    def to_pandas(self, wide: str | None = None) -> pd.DataFrame:
        """A pandas frame: in long format, or one column of the bars `wide`.

        wide: as `column` of `wide(...)`; the frame is indexed by `ts`, and NaN where a series has no bar.
        """
        if wide is None:
            return self.frame.to_pandas()
        frame = self.wide(wide).to_pandas().set_index("ts")
        frame.columns.name = "series"
        return frame

    def to_arrow(self) -> pa.Table:
        """An Arrow table in long format."""
        return self.frame.to_arrow()

    def __reduce__(self) -> tuple[Any, ...]:
        return pickled(FetchManyResult, dict(self.results), dict(self.errors))

    def __repr__(self) -> str:
        rows = counted(sum(result.frame.height for result in self.results.values()), "row")
        lines = (
            f"{name}: {counted(result.frame.height, 'row')}, {_counts(result.coverage)}"
            for name, result in self.results.items()
        )
        return _text(f"FetchManyResult({len(self.results):,} series, {rows}", lines, self.errors)

    def _repr_html_(self) -> str:
        rows = [
            (name, result.frame.height, *result.coverage.counts.values(), _findings(result))
            for name, result in self.results.items()
        ]
        head = ("series", "rows", *STATES, "findings")
        return table(head, rows) + _errors_html(self.errors)


@dataclass(frozen=True)
class BackfillManyResult:
    """What is known of several series after a backfill.

    states: the five states of each bar of the range, by node id, in the order asked. errors: of the series
    that could not be asked for (only with `partial_ok`). `r[series]` is the states of one, or raises its
    error; `in`, `len` and iteration are of those that have states.
    """

    states: Mapping[str, BarStates]
    errors: Mapping[str, QmtlError] = field(default_factory=dict)

    def __getitem__(self, series: object) -> BarStates:
        return _one(self.states, self.errors, series)

    def __contains__(self, series: object) -> bool:
        return str(series) in self.states

    def __iter__(self) -> Iterator[str]:
        return iter(self.states)

    def __len__(self) -> int:
        return len(self.states)

    def __reduce__(self) -> tuple[Any, ...]:
        return pickled(BackfillManyResult, dict(self.states), dict(self.errors))

    def __repr__(self) -> str:
        lines = (f"{name}: {_counts(states)}" for name, states in self.states.items())
        return _text(f"BackfillManyResult({len(self.states):,} series", lines, self.errors)

    def _repr_html_(self) -> str:
        rows = [(name, *states.counts.values()) for name, states in self.states.items()]
        return table(("series", *STATES), rows) + _errors_html(self.errors)


def _one(answers: Mapping[str, T], errors: Mapping[str, QmtlError], series: object) -> T:
    name = str(series)
    if name in errors:
        raise errors[name]
    return answers[name]


def _text(head: str, lines: Iterable[str], errors: Mapping[str, QmtlError]) -> str:
    """What failed first, for it matters most."""
    more = f", {counted(len(errors), 'error')}" if errors else ""
    failed = (f"  {name}: {type(error).__name__}: {error.what}" for name, error in errors.items())
    return on_screen([f"{head}{more})", *failed, *(f"  {line}" for line in lines)])


def _errors_html(errors: Mapping[str, QmtlError]) -> str:
    if not errors:
        return ""
    rows = [
        (name, type(error).__name__, error.what, error.why or "", error.next_step or "")
        for name, error in errors.items()
    ]
    return title(f"{len(errors):,} series without an answer") + table(
        ("series", "error", "what", "why", "next"), rows
    )


def _counts(states: BarStates) -> str:
    shown = ", ".join(f"{state} {count:,}" for state, count in states.counts.items() if count) or "no bars"
    return shown + uncoordinated_words(states.uncoordinated)


def _findings(result: FetchResult) -> str:
    report = result.report
    if report.passes:
        return "passes"
    return f"{counted(report.errors, 'error')}, {counted(report.warnings, 'warning')}"
