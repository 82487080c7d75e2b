"""Whether the default of a field is a value of its type (Avro 1.12, the table of "field default values")."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from qmtl.foundation.schema.avro_names import defined_name, full_name, namespace_of


class Default(NamedTuple):
    """A default, the type of its field, the namespace around, and the place."""

    value: Any
    type: Any
    around: str
    path: str


class Known(Protocol):
    """A named type, and the namespace in which its inside is read."""

    @property
    def node(self) -> Mapping[str, Any]: ...

    @property
    def inside(self) -> str: ...


def check_default(default: Default, known: Mapping[str, Known]) -> None:
    """Raises `ValueError` where the value is none of the type. For a union one branch must take it."""
    if not _fits(default.value, default.type, default.around, known):
        text = repr(default.value)
        shown = text if len(text) <= 60 else f"{text[:57]}..."
        raise ValueError(f"at {default.path}: the default {shown} is no value of the field's type")


def _fits(value: Any, node: Any, around: str, known: Mapping[str, Known]) -> bool:
    if isinstance(node, list):
        return any(_fits(value, branch, around, known) for branch in node)
    kind = node if isinstance(node, str) else node["type"]
    if kind in _PLAIN:
        return _PLAIN[kind](value)
    if kind == "array":
        return isinstance(value, list) and all(_fits(one, node["items"], around, known) for one in value)
    if kind == "map":
        return isinstance(value, dict) and all(
            _fits(one, node["values"], around, known) for one in value.values()
        )
    if kind == "fixed":
        return _is_bytes(value) and len(value) == node["size"]
    if kind == "enum":
        return value in node["symbols"]
    if kind == "record":
        inside = namespace_of(defined_name(node["name"], node.get("namespace"), around))
        return _fits_record(value, node, inside, known)
    name = full_name(kind, around)
    return _fits(value, known[name].node, known[name].inside, known)


def _fits_record(value: Any, node: Any, inside: str, known: Mapping[str, Known]) -> bool:
    if not isinstance(value, dict):
        return False
    return all(
        _fits(value[field["name"]], field["type"], inside, known)
        if field["name"] in value
        else "default" in field  # which is checked on its own
        for field in node["fields"]
    )


def _is_integer(value: Any, bits: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -(2**bits) <= value < 2**bits


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_bytes(value: Any) -> bool:
    """Code points 0 to 255 stand for bytes."""
    return isinstance(value, str) and all(ord(each) < 256 for each in value)


_PLAIN: dict[str, Callable[[Any], bool]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "int": lambda value: _is_integer(value, 31),
    "long": lambda value: _is_integer(value, 63),
    "float": _is_number,
    "double": _is_number,
    "bytes": _is_bytes,
    "string": lambda value: isinstance(value, str),
}
