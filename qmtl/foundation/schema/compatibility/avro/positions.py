"""A position in what is written, seen from both sides, and the instance that leads to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from qmtl.foundation.schema.compatibility.avro.names import unqualified
from qmtl.foundation.schema.compatibility.avro.smallest import Chosen, Smallest, SmallestValues
from qmtl.foundation.schema.compatibility.avro.types import (
    Enum,
    Fixed,
    Map,
    Record,
    Type,
    Union,
    branch_name,
)


class Position(NamedTuple):
    """What is written here, and what it is read as.

    within: the field of the parent's record, or the branch of its union, that leads here; else "".
    segment: the part of the path that leads here; "" where nothing is named.
    """

    writer: Type
    reader: Type
    parent: Position | None = None
    within: str = ""
    segment: str = ""

    def inner(self, writer: Type, reader: Type, segment: str, within: str = "") -> Position:
        return Position(writer, reader, self, within, segment)

    @property
    def path(self) -> str:
        return path_of(position.segment for position in reversed(list(self.outwards())))

    def outwards(self) -> Iterator[Position]:
        """This position, then the one around it, up to the root."""
        position: Position | None = self
        while position is not None:
            yield position
            position = position.parent


def root(writer: Type, reader: Type) -> Position:
    segment = unqualified(writer.name) if isinstance(writer, Record | Enum | Fixed) else ""
    return Position(writer, reader, segment=segment)


def branches_of(position: Position, union: Union) -> Iterator[Position]:
    """Each branch of the writer's union, called by its unqualified name unless two share that."""
    shares = Counter(unqualified(branch_name(branch)) for branch in union.branches)
    for branch in union.branches:
        name = branch_name(branch)
        short = unqualified(name)
        yield position.inner(branch, position.reader, short if shares[short] == 1 else name, name)


def path_of(segments: Iterator[str]) -> str:
    return "/" + "/".join(segment for segment in segments if segment)


def instance_at(position: Position, value: Smallest, smallest: SmallestValues) -> Smallest:
    """The whole instance that has `value` at the position, and elsewhere is as small as it can be.

    A record whose smallest value has it already is not copied, so that many problems share one instance.
    """
    whole = value
    for step in position.outwards():
        if step.parent is not None:
            whole = _around(step, whole, step.parent.writer, smallest)
    return whole


def _around(step: Position, inner: Smallest, outer: Type, smallest: SmallestValues) -> Smallest:
    value_here: Any = inner.value
    if isinstance(outer, Union):
        return inner._replace(value=Chosen(step.within, value_here))
    height = inner.height + 1
    if not isinstance(outer, Record):
        value = {"key": value_here} if isinstance(outer, Map) else [value_here]
        return Smallest(value, inner.parts + 1, height)
    around = smallest.of(outer)
    if around.value[step.within] is value_here:
        return around
    parts = around.parts + inner.parts
    return Smallest(around.value | {step.within: value_here}, parts, max(around.height, height))
