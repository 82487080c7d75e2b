"""The walk over both schemas side by side: each position where the reader cannot read what may be written.

Positions are visited from the root downwards, level by level, so that the shortest path to a problem is the
one that is shown. A pair of records is judged once, where it is met first. What cannot be written is skipped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from qmtl.foundation.schema.compatibility.avro.fields import pair_fields
from qmtl.foundation.schema.compatibility.avro.limits import MAX_PAIRS, TooLarge
from qmtl.foundation.schema.compatibility.avro.matching import chosen_branch, matches
from qmtl.foundation.schema.compatibility.avro.names import same_name
from qmtl.foundation.schema.compatibility.avro.positions import Position, branches_of, root
from qmtl.foundation.schema.compatibility.avro.smallest import Smallest, SmallestValues
from qmtl.foundation.schema.compatibility.avro.types import (
    Array,
    Enum,
    Field,
    Fixed,
    Graph,
    Map,
    Record,
    Type,
    Union,
)


class Unreadable(NamedTuple):
    """`value` is written at the position and cannot be read; `unfed` or `symbols` are what is missing."""

    rule: str
    position: Position
    value: Smallest
    unfed: Field | None = None
    symbols: tuple[str, ...] = ()


class Readable(NamedTuple):
    """Values that are read, one by one; whether they still mean the same is another question (meaning.py)."""

    position: Position


Finding = Unreadable | Readable


def findings(writer: Graph, reader: Graph, smallest: SmallestValues) -> Iterator[Finding]:
    """Raises `TooLarge` after `MAX_PAIRS` positions."""
    waiting = deque([root(writer.root, reader.root)] if smallest.can_write(writer.root) else [])
    judged: set[tuple[int, int]] = set()
    visited = 0
    while waiting:
        position = waiting.popleft()
        visited += len(position.reader.branches) if isinstance(position.reader, Union) else 1
        if visited > MAX_PAIRS:
            raise TooLarge
        if isinstance(position.writer, Record) and matches(position.writer, position.reader):
            pair = (id(position.writer), id(position.reader))
            if pair in judged:
                continue
            judged.add(pair)
        for found in _judge(position, smallest):
            if isinstance(found, Position):
                waiting.append(found)
            else:
                yield found


def _judge(position: Position, smallest: SmallestValues) -> Iterator[Finding | Position]:
    """What is found at one position, and the positions inside it."""
    writer, reader = position.writer, position.reader
    if isinstance(writer, Union):
        yield from (inner for inner in branches_of(position, writer) if smallest.can_write(inner.writer))
        return
    if isinstance(reader, Union):
        chosen = chosen_branch(writer, reader)
        yield (
            position._replace(reader=chosen)
            if chosen is not None
            else _unreadable("avro.branch_missing", position, smallest)
        )
        return
    match writer, reader:
        case Array(), Array():
            yield from _contents(position, writer.items, reader.items, "[]", smallest)
        case Map(), Map():
            yield from _contents(position, writer.values, reader.values, "{}", smallest)
        case _ if not matches(writer, reader):
            yield _unreadable(_why_not(position), position, smallest)
        case Record(), Record():
            yield from _fields(position, writer, reader, smallest)
        case Enum(), Enum():
            yield from _symbols(position, writer, reader)
        case _:
            yield Readable(position)


def _contents(
    position: Position, written: Type, read: Type, segment: str, smallest: SmallestValues
) -> Iterator[Finding | Position]:
    inner = position.inner(written, read, segment)
    if smallest.can_write(written):
        yield inner
    elif not matches(written, read):
        # "Both schemas are arrays whose item types match": an error even where only [] can be written.
        yield _unreadable(_why_not(inner), position, smallest)


def _fields(
    position: Position, writer: Record, reader: Record, smallest: SmallestValues
) -> Iterator[Finding | Position]:
    pairing = pair_fields(writer, reader)
    for field in pairing.unfed:
        if not field.default:
            yield _unreadable("avro.default_missing", position, smallest)._replace(unfed=field)
    for source, field in pairing.pairs:
        if field.is_settled and source.type == field.type:
            continue
        yield position.inner(source.type, field.type, source.name, source.name)


def _symbols(position: Position, writer: Enum, reader: Enum) -> Iterator[Finding]:
    known = frozenset(reader.symbols)
    missing = tuple(symbol for symbol in writer.symbols if symbol not in known)
    if missing and reader.default is None:
        yield Unreadable("avro.symbol_missing", position, Smallest(missing[0]), symbols=missing)


def _why_not(position: Position) -> str:
    """The rule by which two types, none of them a union, do not match."""
    if position.parent is not None and isinstance(position.parent.writer, Union):
        return "avro.branch_mismatch"
    match position.writer, position.reader:
        case Fixed() as writer, Fixed() as reader if same_name(writer, reader):
            return "avro.fixed_size_mismatch"
        case (Record(), Record()) | (Enum(), Enum()) | (Fixed(), Fixed()):
            return "avro.name_mismatch"
        case _:
            return "avro.type_mismatch"


def _unreadable(rule: str, position: Position, smallest: SmallestValues) -> Unreadable:
    return Unreadable(rule, position, smallest.of(position.writer))
