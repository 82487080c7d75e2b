"""The form in which Avro 1.12 for Java prints a schema that it has read (`Schema.toString()`).

Confluent's registry stores and compares an Avro schema in this form. What the parser does not
keep, the form does not have: the order and spelling of its own attributes, names that are written in full
without need, `{"type": "string"}` for `"string"`, an order of "ascending", an alias twice, documentation
that is no text, and attributes of the specification where they have no meaning. Everything else counts:
documentation, defaults, the order of fields and symbols, aliases, and properties that the specification does
not know, in their order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from qmtl.foundation.schema.avro_names import NAMED, PRIMITIVES, defined_name, full_name, namespace_of
from qmtl.foundation.schema.json_values import in_order

_ORDERS = ("ascending", "descending", "ignore")

# Attributes of the specification, ignored elsewhere. All others are properties, which are stored.
_OF_TYPES = frozenset(
    {"aliases", "doc", "fields", "items", "name", "namespace", "size", "symbols", "type", "values"}
)
_OF_ENUMS = _OF_TYPES | {"default"}
_OF_FIELDS = frozenset({"aliases", "default", "doc", "name", "order", "type"})

_PARTS = {"record": "fields", "enum": "symbols", "fixed": "size", "array": "items", "map": "values"}

# A type of this name cannot be called by it alone.
_KINDS = PRIMITIVES | NAMED | {"array", "map", "union"}


def printed_form(value: Any, *, normalize: bool = False) -> Any:
    """The JSON value of a schema with its attributes as they are printed, in that order.

    normalize: as Confluent's `normalize` beyond that: aliases and properties are sorted, also inside of
        properties and defaults, and empty documentation of a type is left out.

    What is no schema stays as it is, so that a later check finds what is wrong with it.
    """
    return _Form(normalize).type(value, "")


class _Form:
    def __init__(self, normalize: bool) -> None:
        self._normalize = normalize

    def type(self, node: Any, around: str) -> Any:
        """A type within a namespace; "" is the null namespace."""
        if isinstance(node, str):
            return node if node in PRIMITIVES else _called(full_name(node, around), around)
        if isinstance(node, list):
            return [self.type(branch, around) for branch in node]
        kind = node.get("type") if isinstance(node, dict) else None
        if not isinstance(kind, str):
            return node
        if kind in NAMED:
            return self._definition(kind, node, around)
        if kind in PRIMITIVES:
            properties = self._properties(node, _OF_TYPES)
            return {"type": kind, **properties} if properties else kind
        if kind not in ("array", "map"):
            return self.type(kind, around)
        part = _PARTS[kind]
        inner = {part: self.type(node[part], around)} if part in node else {}
        return {"type": kind, **inner, **self._properties(node, _OF_TYPES)}

    def _definition(self, kind: str, node: Mapping[str, Any], around: str) -> Any:
        if not isinstance(node.get("name"), str):
            return node
        given = node.get("namespace")
        full = defined_name(node["name"], given if isinstance(given, str) else None, around)
        space = namespace_of(full)
        form: dict[str, Any] = {"type": kind, "name": full.rpartition(".")[2]}
        if space != around:
            form["namespace"] = space
        if isinstance(node.get("doc"), str) and (node["doc"] or not self._normalize):
            form["doc"] = node["doc"]
        part = _PARTS[kind]
        if part in node:
            form[part] = node[part]
        if isinstance(form.get("fields"), list):
            form["fields"] = [self._field(field, space) for field in form["fields"]]
        if kind == "enum" and isinstance(node.get("default"), str):
            form["default"] = node["default"]
        form |= self._properties(node, _OF_ENUMS if kind == "enum" else _OF_TYPES)
        return form | self._aliases(node, space)

    def _field(self, node: Any, space: str) -> Any:
        if not isinstance(node, dict) or "name" not in node or "type" not in node:
            return node
        form = {"name": node["name"], "type": self.type(node["type"], space)}
        if isinstance(node.get("doc"), str):
            form["doc"] = node["doc"]
        if "default" in node:
            form["default"] = self._value(node["default"])
        order = node.get("order", "ascending")
        if isinstance(order, str) and order.lower() in _ORDERS:
            order = order.lower()
        if order != "ascending":
            form["order"] = order
        return form | self._aliases(node, None) | self._properties(node, _OF_FIELDS)

    def _aliases(self, node: Mapping[str, Any], space: str | None) -> dict[str, Any]:
        """Each once. Those of a type lie in its namespace; those of a field (None) are plain names."""
        given = node.get("aliases", [])
        if not isinstance(given, list) or not all(isinstance(alias, str) for alias in given):
            return {"aliases": given}
        meant = given if space is None else (full_name(alias, space) for alias in given)
        names = self._sorted(dict.fromkeys(meant))
        called = names if space is None else (_called(name, space) for name in names)
        return {"aliases": list(called)} if given else {}

    def _properties(self, node: Mapping[str, Any], known: frozenset[str]) -> dict[str, Any]:
        names = [name for name in node if name not in known]
        return {name: self._value(node[name]) for name in self._sorted(names)}

    def _sorted(self, names: Iterable[str]) -> Iterable[str]:
        return sorted(names) if self._normalize else names

    def _value(self, value: Any) -> Any:
        return in_order(value) if self._normalize else value


def _called(full: str, around: str) -> str:
    """How a type is called within a namespace: by its name alone, where that cannot mean another type."""
    space, _, name = full.rpartition(".")
    return name if space and space == around and name not in _KINDS else full
