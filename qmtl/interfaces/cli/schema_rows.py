"""Rows of a file as JSON values, each held against a schema by the library of its language."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from qmtl.foundation.errors import InvalidRequestError, MissingDependencyError
from qmtl.foundation.schema.documents import Schema, SchemaType

if TYPE_CHECKING:
    from collections.abc import Callable

_READERS: dict[str, Callable[[Path], pl.DataFrame]] = {
    ".parquet": pl.read_parquet,
    ".arrow": pl.read_ipc,
    ".csv": pl.read_csv,
}


def rows_of(file: Path) -> list[Any]:
    """An object per row; a time is int nanoseconds, as the canonical schemas have it."""
    try:
        if file.suffix == ".jsonl":
            with file.open(encoding="utf-8") as lines:
                return [json.loads(line) for line in lines if line.strip()]
        reader = _READERS.get(file.suffix)
        if reader is None:
            known = ", ".join([*_READERS, ".jsonl"])
            raise InvalidRequestError(f"{file} is no file of rows", next_step=f"give one of {known}")
        frame = reader(file)
    except (OSError, ValueError, pl.exceptions.PolarsError) as failure:
        if isinstance(failure, InvalidRequestError):
            raise
        raise InvalidRequestError(f"{file} cannot be read", why=str(failure)) from failure
    times = pl.selectors.datetime()
    return frame.with_columns(times.dt.timestamp("ns")).to_dicts()


def broken_rows(schema: Schema, rows: list[Any]) -> list[tuple[int, str]]:
    """The number of each row that breaks the schema, from 1, and why."""
    if schema.references:
        raise InvalidRequestError("rows are held against schemas without references only")
    if schema.type is SchemaType.AVRO:
        return _of_avro(schema.text, rows)
    return _of_json(schema.text, rows)


def _of_json(text: str, rows: list[Any]) -> list[tuple[int, str]]:
    try:
        from jsonschema.validators import validator_for
    except ImportError:
        raise MissingDependencyError("jsonschema", extra="schemas") from None
    value = json.loads(text)
    validator = validator_for(value)(value)
    broken = []
    for number, row in enumerate(rows, 1):
        error = next(iter(validator.iter_errors(row)), None)
        if error is not None:
            broken.append((number, f"{error.json_path}: {error.message}"))
    return broken


def _of_avro(text: str, rows: list[Any]) -> list[tuple[int, str]]:
    try:
        import fastavro
        from fastavro.validation import ValidationError
    except ImportError:
        raise MissingDependencyError("fastavro", extra="schemas") from None
    parsed = fastavro.parse_schema(json.loads(text))
    broken = []
    for number, row in enumerate(rows, 1):
        try:
            fastavro.validate(row, parsed, strict=True)
        except ValidationError as failure:
            broken.append((number, " ".join(str(failure).split())))
    return broken
