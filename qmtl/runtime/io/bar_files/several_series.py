"""Refuse a table with several series, and find which series its rows say they belong to."""

from __future__ import annotations

import polars as pl

from qmtl.foundation.errors import InvalidRequestError
from qmtl.runtime.io.bar_files.columns import ChosenColumns, matching_rows, text_of
from qmtl.runtime.io.bar_files.identity import (
    MAX_VALUES,
    SYMBOL_NAMES,
    identifies_series,
    is_identity_name,
    plain_name,
)
from qmtl.runtime.io.bar_files.option_values import ANYTHING, condition_text
from qmtl.runtime.io.bar_files.tables import Table, key

# Rows that are looked at first: a column with many words among them is no identity.
_SAMPLE = 20_000
_SHOWN = 5


def identities(table: Table, chosen: ChosenColumns) -> tuple[tuple[str, str], ...]:
    """Unused columns with one value that may say of what the rows are, each with its value.

    Raises `InvalidRequestError` for a column with several values that tells series apart: its rows would be
    mixed. A column that a condition names is declared, and is not judged.
    """
    schema = table.lazy.collect_schema()
    suspects = [i for i in chosen.unused if _is_suspect(table, schema, i)]
    if not suspects:
        return table.metadata
    lazy = matching_rows(table, chosen)
    sample = lazy.head(_SAMPLE).select(key(i) for i in suspects).collect()
    suspects = [
        i
        for i in suspects
        if is_identity_name(table.header[i]) or 0 < sample[key(i)].n_unique() <= MAX_VALUES
        if schema[key(i)] != pl.String or not _is_number(sample[key(i)]) or is_identity_name(table.header[i])
    ]
    # The names that people know instruments by come first, so that a refusal shows those.
    suspects.sort(key=lambda i: plain_name(table.header[i]) not in SYMBOL_NAMES)
    found = list(table.metadata)
    for position in suspects:
        counts = (
            lazy.filter(~pl.col("blank"))
            .group_by(text_of(position).fill_null("").alias("value"))
            .len()
            .collect(engine="streaming")
            .sort("len", "value", descending=[True, False])
        )
        values, rows = counts["value"].to_list(), int(counts["len"].sum())
        column = table.header[position]
        if identifies_series(column, values, rows):
            raise _several(table, column, [value for value in values if value])
        only = [value for value in values if value]
        if len(only) == 1 and is_identity_name(column):
            found.append((column, only[0]))
    return tuple(found)


def _is_suspect(table: Table, schema: pl.Schema, position: int) -> bool:
    kind = schema[key(position)]
    if kind == pl.String or kind in (pl.Categorical, pl.Enum):
        return True
    return is_identity_name(table.header[position]) and (kind.is_integer() or kind == pl.Boolean)


def _is_number(sample: pl.Series) -> bool:
    text = sample.drop_nulls().str.strip_chars()
    text = text.filter(text != "")
    return bool(text.cast(pl.Float64, strict=False).is_not_null().all()) and len(text) > 0


def _several(table: Table, column: str, values: list[str]) -> InvalidRequestError:
    shown = ", ".join(map(repr, values[:_SHOWN])) + (f", ... {len(values)} in all" if values[_SHOWN:] else "")
    condition = condition_text(column, values[0])
    if table.has_names and '"' not in condition:
        step = f"read one of them with `where={condition}`, each into a series of its own"
    else:
        step = f"read one of them with `where='{condition}'`, each into a series of its own"
    return InvalidRequestError(
        f"{table.name} holds several series",
        why=f"column {column!r}, which is not used, has {len(values)} values: {shown}",
        next_step=f"{step}; if it does not tell series apart, say "
        f"`where='{condition_text(column, ANYTHING)}'`",
    )


def no_matching_rows(table: Table, chosen: ChosenColumns) -> InvalidRequestError:
    """For conditions that no row meets: the values that there are."""
    parts = []
    for position, value in chosen.where.items():
        there = (
            table.lazy.select(text_of(position).alias("value"))
            .drop_nulls()
            .unique()
            .collect(engine="streaming")["value"]
            .sort()
        )
        near = ", ".join(map(repr, there.head(_SHOWN).to_list()))
        more = f", ... {there.len()} in all" if there.len() > _SHOWN else ""
        parts.append(f"{table.header[position]!r} is to be {value!r}, and holds {near}{more}")
    return InvalidRequestError(
        f"{table.name} has no row that meets `where=`",
        why="; ".join(parts),
        next_step="name a value that the file holds",
    )
