"""A frame checked against a registered schema: columns, types, nulls, listed values and ranges.

One evaluator serves both modes, so that canary and strict agree by construction: what canary counts is what
strict refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from qmtl.foundation.frames import stamps
from qmtl.foundation.timeline import Int64Array, Span
from qmtl.foundation.words import counted
from qmtl.runtime.conformance.findings import Finding, row_finding
from qmtl.runtime.conformance.rules import RULE_IDS

Number = int | float

COLUMN_MISSING = "schema.column_missing"
COLUMN_UNKNOWN = "schema.column_unknown"
COLUMN_TYPE = "schema.column_type"
NULL = "schema.null"
NOT_LISTED = "schema.not_listed"
OUT_OF_RANGE = "schema.out_of_range"


class Bounds(NamedTuple):
    """`least` and `most` are inclusive, `above` and `below` are exclusive; None is no bound."""

    least: Number | None = None
    most: Number | None = None
    above: Number | None = None
    below: Number | None = None

    def outside(self, numbers: npt.NDArray[Any]) -> npt.NDArray[np.bool_] | None:
        """Where numbers (NaN is none) lie outside; None where there is no bound."""
        masks = []
        for bound, is_outside in (
            (self.least, np.less),
            (self.most, np.greater),
            (self.above, np.less_equal),
            (self.below, np.greater_equal),
        ):
            if bound is not None:
                masks.append(is_outside(numbers, bound))
        return np.logical_or.reduce(masks) if masks else None

    def __str__(self) -> str:
        limits = ((">=", self.least), ("<=", self.most), (">", self.above), ("<", self.below))
        return " and ".join(f"{sign} {bound}" for sign, bound in limits if bound is not None)


NO_BOUNDS = Bounds()


class Column(NamedTuple):
    """What a schema says of one column.

    dtypes: the polars types that may hold it; a type class stands for all of its parameters. Empty: any.
    allowed: the values that are listed, without null; None where any value will do.
    """

    name: str
    dtypes: tuple[pl.DataType | type[pl.DataType], ...] = ()
    nullable: bool = False
    required: bool = True
    bounds: Bounds = NO_BOUNDS
    allowed: tuple[Any, ...] | None = None


@dataclass(frozen=True, eq=False)
class RegisteredSchema:
    """One version of a subject, as columns to check.

    closed: whether other columns than these are refused. unchecked: what it says that is not checked here,
    a sentence each. id: in the registry, or None for the one that comes with this package.
    """

    subject: str
    version: int
    columns: tuple[Column, ...]
    closed: bool = True
    unchecked: tuple[str, ...] = ()
    id: int | None = None

    @cached_property
    def name(self) -> str:
        """Subject and version, such as `ohlcv:1`."""
        return f"{self.subject}:{self.version}"


class Violation(NamedTuple):
    """One rule that one column breaks.

    rows: the stamps (ns) of the rows that break it; None for all of them. message: a sentence for people.
    """

    rule: str
    column: str
    message: str
    rows: Int64Array | None

    # A tuple would ask whether one array equals another, and get an array.
    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Violation)
            and self[:3] == other[:3]
            and (self.rows is None) == (other.rows is None)
            and np.array_equal(self.rows, other.rows)  # type: ignore[arg-type]  # None equals None
        )

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self[:3])

    def within(self, span: Span) -> Violation | None:
        """The part that concerns bars that open within `span`, if any."""
        if self.rows is None:
            return self
        first, last = self.rows.searchsorted((span.start, span.end)).tolist()
        return self._replace(rows=self.rows[first:last]) if first < last else None


class SchemaCheck(NamedTuple):
    """What a frame was checked against, and where it failed. `schema` is None if there was none."""

    schema: RegisteredSchema | None
    violations: tuple[Violation, ...] = ()

    def within(self, span: Span) -> SchemaCheck:
        """The check of the rows that open within `span`."""
        return SchemaCheck(self.schema, tuple(v for one in self.violations if (v := one.within(span))))

    def failed_rows(self, frame: pl.DataFrame) -> int:
        """How many rows of the frame break the schema."""
        return len(_violating_stamps(self.violations, stamps(frame)))

    def findings(self, frame: pl.DataFrame) -> list[Finding]:
        """One finding a rule, with the rows of all columns that break it."""
        ts = stamps(frame)
        found = []
        for rule in RULE_IDS:
            rows = _violating_stamps([one for one in self.violations if one.rule == rule], ts)
            if len(rows):
                found.append(row_finding(rule, frame[np.searchsorted(ts, rows)], total=frame.height))
        return found


NOT_CHECKED = SchemaCheck(None)


def check(frame: pl.DataFrame, schema: RegisteredSchema) -> SchemaCheck:
    """Check a frame (with `ts`, sorted, unique) against a schema. A frame without rows breaks nothing."""
    return SchemaCheck(schema, violations(frame, schema, lambda: stamps(frame)))


def violations(
    frame: pl.DataFrame, schema: RegisteredSchema, row_keys: Callable[[], Int64Array]
) -> tuple[Violation, ...]:
    """What a frame breaks of a schema. A frame without rows breaks nothing.

    row_keys: gives the number of each row for `Violation.rows`, ascending and unique; called if a row fails.
    """
    if not frame.height:
        return ()
    found = [
        violation for column in schema.columns for violation in _column_violations(frame, column, row_keys)
    ]
    if schema.closed:
        known = {column.name for column in schema.columns}
        found += [
            Violation(COLUMN_UNKNOWN, name, f"{name} is no column of {schema.name}", None)
            for name in frame.columns
            if name not in known
        ]
    return tuple(found)


def _column_violations(
    frame: pl.DataFrame, column: Column, row_keys: Callable[[], Int64Array]
) -> Iterable[Violation]:
    name = column.name
    if name not in frame.columns:
        if column.required:
            yield Violation(COLUMN_MISSING, name, f"the column {name} is missing", None)
        return
    values = frame.get_column(name)
    if column.dtypes and not any(values.dtype == dtype for dtype in column.dtypes):
        expected = " or ".join(map(str, column.dtypes))
        yield Violation(COLUMN_TYPE, name, f"{name} is {values.dtype}, not {expected}", None)
        return

    def rows(mask: npt.NDArray[np.bool_]) -> Int64Array:
        return row_keys()[mask]

    if not column.nullable and values.null_count():
        missing = values.is_null().to_numpy()
        yield Violation(NULL, name, f"{name} is null in {counted(int(missing.sum()), 'row')}", rows(missing))
    if column.bounds is not NO_BOUNDS and values.dtype.is_numeric() | values.dtype.is_temporal():
        numbers = values.to_numpy()
        outside = column.bounds.outside(numbers.view(np.int64) if numbers.dtype.kind in "mM" else numbers)
        if outside is not None and outside.any():
            message = f"{name} is not {column.bounds} in {counted(int(outside.sum()), 'row')}"
            yield Violation(OUT_OF_RANGE, name, message, rows(outside))
    if column.allowed is not None:
        # A listed value that the column's type cannot represent, such as 0.5 among integers, matches no row.
        cast_values = pl.Series(column.allowed, dtype=values.dtype, strict=False)
        listed_values = [
            value
            for value, listed_value in zip(cast_values, column.allowed, strict=True)
            if value == listed_value
        ]
        allowed = pl.Series(listed_values, dtype=values.dtype).implode()
        other = ~(values.is_in(allowed) | values.is_null()).to_numpy()
        if other.any():
            example = values.filter(pl.Series(other))[0]
            choices = ", ".join(map(repr, column.allowed))
            message = f"{name} is none of {choices} in {counted(int(other.sum()), 'row')}: {example!r}"
            yield Violation(NOT_LISTED, name, message, rows(other))


def _violating_stamps(violations: Sequence[Violation], ts: Int64Array) -> Int64Array:
    """The stamps of the rows that break any of some violations, ascending."""
    if any(violation.rows is None for violation in violations):
        return ts
    parts = [violation.rows for violation in violations if violation.rows is not None]
    return np.unique(np.concatenate(parts)) if parts else ts[:0]
