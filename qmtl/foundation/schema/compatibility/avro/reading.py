"""The second opinion: one value, written by one type, is read by another, as the specification says.

Small enough to be held against "Schema Resolution" line by line. It decides where fastavro is known to
deviate (deviations.py), and the tests hold fastavro against it.
"""

from __future__ import annotations

from typing import Any

from qmtl.foundation.schema.compatibility.avro.fields import pair_fields
from qmtl.foundation.schema.compatibility.avro.matching import chosen_branch, matches
from qmtl.foundation.schema.compatibility.avro.smallest import Chosen
from qmtl.foundation.schema.compatibility.avro.types import (
    Array,
    Enum,
    Map,
    Record,
    Type,
    Union,
    branch_name,
)


def can_be_read(writer: Type, reader: Type, value: Any) -> bool:
    """Whether `value`, written as `writer`, is no error when it is resolved against `reader`."""
    if isinstance(writer, Union):
        return can_be_read(_branch(writer, value), reader, value.value)
    if isinstance(reader, Union):
        branch = chosen_branch(writer, reader)
        return branch is not None and can_be_read(writer, branch, value)
    if not matches(writer, reader):
        return False
    match writer, reader:
        case Array(), Array():
            return all(can_be_read(writer.items, reader.items, item) for item in value)
        case Map(), Map():
            return all(can_be_read(writer.values, reader.values, item) for item in value.values())
        case Enum(), Enum():
            return value in reader.symbols or reader.default is not None
        case Record(), Record():
            pairing = pair_fields(writer, reader)
            return all(field.default for field in pairing.unfed) and all(
                can_be_read(source.type, field.type, value[source.name]) for source, field in pairing.pairs
            )
        case _:
            return True


def _branch(union: Union, value: Chosen) -> Type:
    return next(branch for branch in union.branches if branch_name(branch) == value.branch)
