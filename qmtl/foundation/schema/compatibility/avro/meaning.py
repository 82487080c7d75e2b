"""Whether values that can be read still mean the same: logical types and declared units, by rules of ours."""

from __future__ import annotations

from collections.abc import Iterator

from qmtl.foundation.schema.compatibility.avro.logical import TIME_TYPES
from qmtl.foundation.schema.compatibility.avro.types import Fixed, Logical, Primitive, Type, kind_of


def changes_of_meaning(writer: Type, reader: Type) -> Iterator[str]:
    """The rules (of `MEANING` and of `NOTICES`) that apply to two types that match."""
    if not isinstance(writer, Primitive | Fixed) or not isinstance(reader, Primitive | Fixed):
        return
    if {kind_of(writer), kind_of(reader)} == {"bytes", "string"}:
        yield "avro.bytes_and_string"
    rule = _logical(writer.logical, reader.logical)
    if rule is not None:
        yield rule
    if writer.unit != reader.unit:
        yield "avro.unit_changed" if writer.unit and reader.unit else "avro.unit_declared"


def _logical(writer: Logical | None, reader: Logical | None) -> str | None:
    """An unknown logical type is worth a notice only where the two sides differ in it."""
    if writer == reader:
        return None
    if (writer and not writer.known) or (reader and not reader.known):
        return "avro.logical_type_unknown"
    if writer is None:
        return "avro.logical_type_added"
    if reader is None:
        return "avro.logical_type_dropped"
    if writer.name == reader.name:
        is_rescaled = writer.scale != reader.scale
        return "avro.decimal_scale_changed" if is_rescaled else "avro.decimal_precision_changed"
    if writer.name in TIME_TYPES and reader.name in TIME_TYPES:
        return "avro.time_type_changed"
    return "avro.logical_type_changed"
