"""The second opinion: one value, written by one type, is read by another, as the specification says.

Small enough to be compared with "Schema Resolution" line by line. It decides where fastavro is known to
deviate (deviations.py), and the tests hold fastavro against it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

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


class Step(NamedTuple):
    """Two types that meet while a value is read; an error is signalled here unless `is_readable`."""

    writer: Type
    reader: Type
    is_readable: bool


def steps(writer: Type, reader: Type, value: Any) -> Iterator[Step]:
    """Every pair of types that meet when `value`, written as `writer`, is resolved against `reader`.

    Also those after an error, but none inside it. The value can be read if all steps can.
    """
    if isinstance(writer, Union):
        yield from steps(_branch(writer, value), reader, value.value)
        return
    if isinstance(reader, Union):
        branch = chosen_branch(writer, reader)
        yield Step(writer, reader, branch is not None)
        if branch is not None:
            yield from steps(writer, branch, value)
        return
    if not matches(writer, reader):
        yield Step(writer, reader, False)
        return
    match writer, reader:
        case Enum(), Enum():
            yield Step(writer, reader, value in reader.symbols or reader.default is not None)
        case Record(), Record():
            pairing = pair_fields(writer, reader)
            yield Step(writer, reader, all(field.default for field in pairing.unfed))
            for source, field in pairing.pairs:
                yield from steps(source.type, field.type, value[source.name])
        case Array(), Array():
            yield Step(writer, reader, True)
            for item in value:
                yield from steps(writer.items, reader.items, item)
        case Map(), Map():
            yield Step(writer, reader, True)
            for item in value.values():
                yield from steps(writer.values, reader.values, item)
        case _:
            yield Step(writer, reader, True)


def _branch(union: Union, value: Chosen) -> Type:
    return next(branch for branch in union.branches if branch_name(branch) == value.branch)
