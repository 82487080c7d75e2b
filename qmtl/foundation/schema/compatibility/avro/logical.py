"""Logical types: which are known, on which base types they are valid, and which of them measure time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from qmtl.foundation.schema.compatibility.avro.types import Logical

# "Logical Types" of the Avro 1.12 specification: the base types on which each is valid.
_BASES: dict[str, frozenset[str]] = {
    "decimal": frozenset({"bytes", "fixed"}),
    "big-decimal": frozenset({"bytes"}),
    "uuid": frozenset({"string", "fixed"}),
    "duration": frozenset({"fixed"}),
    "date": frozenset({"int"}),
    "time-millis": frozenset({"int"}),
    "time-micros": frozenset({"long"}),
    "timestamp-millis": frozenset({"long"}),
    "timestamp-micros": frozenset({"long"}),
    "timestamp-nanos": frozenset({"long"}),
    "local-timestamp-millis": frozenset({"long"}),
    "local-timestamp-micros": frozenset({"long"}),
    "local-timestamp-nanos": frozenset({"long"}),
}
_SIZES = {"uuid": 16, "duration": 12}

TIME_TYPES = frozenset(name for name in _BASES if name == "date" or "time" in name)


def logical_type(declaration: Mapping[str, Any]) -> Logical | None:
    """None where nothing is declared, and where the declaration is invalid.

    "If a logical type is invalid, for example a decimal with scale greater than its precision, then
    implementations should ignore the logical type and use the underlying Avro type."
    """
    name = declaration.get("logicalType")
    if not isinstance(name, str):
        return None
    if name not in _BASES:
        return Logical(name, known=False)
    if declaration["type"] not in _BASES[name]:
        return None
    if declaration["type"] == "fixed" and declaration["size"] != _SIZES.get(name, declaration["size"]):
        return None
    return _decimal(declaration) if name == "decimal" else Logical(name, known=True)


def _decimal(declaration: Mapping[str, Any]) -> Logical | None:
    precision, scale = declaration.get("precision"), declaration.get("scale", 0)
    if type(precision) is not int or type(scale) is not int or not 0 <= scale <= precision or precision < 1:
        return None
    if declaration["type"] == "fixed" and precision > _digits(declaration["size"]):
        return None
    return Logical("decimal", True, precision, scale)


def _digits(size: int) -> int:
    """The decimal digits that always fit into a signed number of `size` bytes."""
    return math.floor(math.log10(2) * (8 * size - 1))
