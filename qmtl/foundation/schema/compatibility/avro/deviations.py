"""Where fastavro does not do what the Avro 1.12 specification says, as seen with fastavro 1.13.

Each entry says what fastavro does, and whether a pair of types is such a case. Where one explains its
answer, fastavro's answer does not count, and the second opinion (reading.py) decides. Beside these, fastavro
resolves schemas that differ in `doc` alone, which the specification ignores, and does not know a name without
a namespace within one, to which the references of a registry may lead (confirmation.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple

from qmtl.foundation.schema.compatibility.avro.names import same_name, unqualified
from qmtl.foundation.schema.compatibility.avro.reading import Step
from qmtl.foundation.schema.compatibility.avro.types import (
    Array,
    Enum,
    Fixed,
    Map,
    Named,
    Record,
    Type,
    Union,
)

Answer = Literal["refused", "read", "stumbled"]


class Deviation(NamedTuple):
    """`answers`: what fastavro may do instead of what it should; "stumbled" is an error of its own."""

    what: str
    answers: frozenset[Answer]
    applies: Callable[[Type, Type], bool]


def _named(type_: Type) -> Named | None:
    return type_ if isinstance(type_, Record | Enum | Fixed) else None


def _goes_by(writer: Named, reader: Named) -> bool:
    short = {unqualified(alias) for alias in reader.aliases}
    return same_name(writer, reader) or unqualified(writer.name) in short


def _kinds_are_mixed(writer: Type, reader: Type) -> bool:
    written, read = _named(writer), _named(reader)
    if written is None or read is None or type(written) is type(read):
        return False
    return _goes_by(written, read)


def _alias_is_loose(writer: Type, reader: Type) -> bool:
    written, read = _named(writer), _named(reader)
    return (
        written is not None and read is not None and not same_name(written, read) and _goes_by(written, read)
    )


def _is_empty_union(writer: Type, reader: Type) -> bool:
    return isinstance(reader, Union) and not reader.branches


def _fields_compete(writer: Type, reader: Type) -> bool:
    """Whether a field of the writer's could feed two of the reader's, or the reverse."""
    if not isinstance(writer, Record) or not isinstance(reader, Record):
        return False
    written = {field.name for field in writer.fields}
    wanted = [[name for name in (field.name, *field.aliases) if name in written] for field in reader.fields]
    asked = [name for names in wanted for name in names]
    return len(set(asked)) < len(asked) or any(len(names) > 1 for names in wanted)


def _branch_is_named(writer: Type, reader: Type) -> bool:
    return _named(writer) is not None and isinstance(reader, Union) and any(map(_named, reader.branches))


# What is confused with another type or field may be read, refused, or end in an error of fastavro's own.
_ANY: frozenset[Answer] = frozenset({"refused", "read", "stumbled"})
_STUMBLES: frozenset[Answer] = frozenset({"stumbled"})

DEVIATIONS: dict[str, Deviation] = {
    "kinds_mixed": Deviation(
        "A record, an enum and a fixed of one name match each other: a fixed is read as an enum, unchanged; "
        "the reverse ends in KeyError. The specification lets only types of one kind match.",
        _ANY,
        _kinds_are_mixed,
    ),
    "alias_without_namespace": Deviation(
        "An alias without a dot matches the writer's unqualified name in any namespace. The specification "
        "completes it by the namespace of the type that it is an alias for.",
        _ANY,
        _alias_is_loose,
    ),
    "empty_union": Deviation(
        "A reader's union of nothing is taken for no reader's schema: everything is read, or ends in "
        "TypeError. The specification: none of its schemas matches, an error is signalled.",
        _ANY,
        _is_empty_union,
    ),
    "fields_compete": Deviation(
        "Where names and aliases compete for a field, the order of the writer's fields decides, or KeyError "
        "ends it. The specification leaves it open; here a name wins over an alias (fields.py).",
        _ANY,
        _fields_compete,
    ),
    "branch_defined_inline": Deviation(
        "A type that the writer refers to by name, and that is defined within the reader's union, ends in "
        "TypeError. The specification makes no difference between a definition and a reference.",
        _STUMBLES,
        _branch_is_named,
    ),
}


def deviations_in(steps: Iterable[Step], answer: Answer) -> list[str]:
    """The deviations that may explain fastavro's answer, by the types that met."""
    pairs = [pair for step in steps for pair in _pairs(step.writer, step.reader)]
    return [
        name
        for name, deviation in DEVIATIONS.items()
        if answer in deviation.answers and any(deviation.applies(*pair) for pair in pairs)
    ]


def _pairs(writer: Type, reader: Type) -> Iterator[tuple[Type, Type]]:
    """All pairs that fastavro looks at before it reads on: branches, items and values too."""
    yield writer, reader
    match writer, reader:
        case _, Union():
            for branch in reader.branches:
                yield from _pairs(writer, branch)
        case Array(), Array():
            yield from _pairs(writer.items, reader.items)
        case Map(), Map():
            yield from _pairs(writer.values, reader.values)
