"""Rows of a file, judged by the evaluator that judges the answers of a fetch."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from qmtl.foundation.errors import InvalidRequestError
from qmtl.interfaces.cli.schema_rows import told
from qmtl.runtime.conformance.registered import RegisteredSchema, violations
from qmtl.runtime.conformance.registered_columns import columns_of

if TYPE_CHECKING:
    import polars as pl

    from qmtl.foundation.schema.documents import Schema
    from qmtl.foundation.timeline import Int64Array
    from qmtl.interfaces.cli.schema_rows import Rows
    from qmtl.runtime.conformance.registered import Violation


def questions(subject: str, version: int, schema: Schema) -> RegisteredSchema:
    """What a schema asks of rows. Raises `InvalidRequestError` where that is nothing that can be asked."""
    asked = columns_of(subject, version, json.loads(schema.text), language=schema.type)
    if asked.unchecked and not asked.columns:
        raise InvalidRequestError(
            f"version {version} of {subject} asks nothing of columns",
            why=f"it has {', '.join(asked.unchecked)}",
            next_step="rows are held to schemas of an object or a record",
        )
    return asked


def broken_rows(rows: Rows, asked: RegisteredSchema, *, most: int) -> tuple[int, dict[int, str]]:
    """How many rows break the schema; and of the first of them, at most so many, the number and why."""
    found = [
        (frame, numbers, violation)
        for frame, numbers in rows.parts
        for violation in violations(frame, asked, partial(np.asarray, numbers))
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
    return f"{what}, here {told(frame[violation.column], int(np.searchsorted(numbers, number)))}"
