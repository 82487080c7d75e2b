"""Rows of a file, checked by the evaluator that checks the answers of a fetch."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from qmtl.foundation.errors import InvalidRequestError
from qmtl.interfaces.cli.schema_rows import value_text
from qmtl.runtime.conformance.registered_schema import RegisteredSchema, violations
from qmtl.runtime.conformance.schema_columns import parse_registered_schema

if TYPE_CHECKING:
    import polars as pl

    from qmtl.foundation.schema.documents import Schema
    from qmtl.foundation.timeline import Int64Array
    from qmtl.interfaces.cli.schema_rows import Rows
    from qmtl.runtime.conformance.registered_schema import Violation


def checked_columns(subject: str, version: int, schema: Schema) -> RegisteredSchema:
    """The columns that a schema checks. Raises `InvalidRequestError` if it checks none."""
    registered = parse_registered_schema(subject, version, json.loads(schema.text), language=schema.type)
    if registered.unchecked and not registered.columns:
        raise InvalidRequestError(
            f"version {version} of {subject} asks nothing of columns",
            why=f"it has {', '.join(registered.unchecked)}",
            next_step="rows are checked against schemas of an object or a record",
        )
    return registered


def broken_rows(rows: Rows, registered: RegisteredSchema, *, most: int) -> tuple[int, dict[int, str]]:
    """How many rows break the schema; and of the first of them, at most so many, the number and why."""
    found = [
        (frame, numbers, violation)
        for frame, numbers in rows.parts
        for violation in violations(frame, registered, partial(np.asarray, numbers))
    ]
    parts = [numbers if one.rows is None else one.rows for _, numbers, one in found]
    broken = np.unique(np.concatenate([np.array(list(rows.refused), dtype=np.int64), *parts]))
    why = {}
    for number in broken[:most].tolist():
        reasons = (_why(*one, number) for one, part in zip(found, parts, strict=True) if number in part)
        why[number] = rows.refused.get(number) or next(reasons)
    return len(broken), why


def _why(frame: pl.DataFrame, numbers: Int64Array, violation: Violation, number: int) -> str:
    what = f"{violation.rule}: {violation.message}"
    if violation.rows is None:
        return what
    return f"{what}, here {value_text(frame[violation.column], int(np.searchsorted(numbers, number)))}"
