"""Where fastavro (1.9 to 1.13) reads, or stumbles over, what the Avro 1.12 specification decides otherwise.

Each entry says what fastavro does, and tells whether a pair of types is such a case. Where one applies on the
way to a problem, fastavro's word does not count, and the second opinion (reading.py) decides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from qmtl.foundation.schema.compatibility.avro.names import same_name, unqualified
from qmtl.foundation.schema.compatibility.avro.places import Place
from qmtl.foundation.schema.compatibility.avro.types import Enum, Fixed, Named, Record, Type, Union


class Deviation(NamedTuple):
    what: str
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


DEVIATIONS: dict[str, Deviation] = {
    "kinds_mixed": Deviation(
        "A record, an enum and a fixed of one name match each other: a fixed is read as an enum, unchanged; "
        "the reverse ends in KeyError. The specification lets only types of one kind match.",
        _kinds_are_mixed,
    ),
    "alias_without_namespace": Deviation(
        "An alias without a dot matches the writer's unqualified name in any namespace. The specification "
        "completes it by the namespace of the type that it is an alias for.",
        _alias_is_loose,
    ),
    "empty_union": Deviation(
        "A reader's union of nothing is taken for no reader's schema, and everything is read. The "
        "specification: none of its schemas matches, an error is signalled.",
        _is_empty_union,
    ),
    "fields_compete": Deviation(
        "Where names and aliases compete for a field, the order of the writer's fields decides. The "
        "specification leaves it open; here a name wins over an alias (fields.py).",
        _fields_compete,
    ),
}


def deviations_at(place: Place) -> list[str]:
    """The deviations on the way from the root to the place, each branch of a reader's union included."""
    return [
        name
        for name, deviation in DEVIATIONS.items()
        if any(
            deviation.applies(step.writer, reader)
            for step in place.outwards()
            for reader in (step.reader, *_branches(step.reader))
        )
    ]


def _branches(type_: Type) -> tuple[Type, ...]:
    return type_.branches if isinstance(type_, Union) else ()
