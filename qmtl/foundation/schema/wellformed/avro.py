"""Whether a JSON value is an Avro schema, by the specification 1.12.

fastavro reads many values that are none: two equal branches in a union, a field twice, names with spaces,
sizes below zero, defaults of the wrong type deeper than the first level. So the rules are checked here, and
fastavro is asked last, because data is read with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from qmtl.foundation.errors import MissingDependencyError
from qmtl.foundation.schema.avro_names import (
    NAMED,
    PRIMITIVES,
    defined_name,
    full_name,
    is_name,
    is_namespace,
    namespace_of,
)
from qmtl.foundation.schema.documents import Document
from qmtl.foundation.schema.json_values import ordered
from qmtl.foundation.schema.wellformed.avro_defaults import Default, check_default

_ORDERS = ("ascending", "descending", "ignore")


class Defined(NamedTuple):
    """A named type, and the namespace in which its inside is read."""

    node: Mapping[str, Any]
    inside: str


def check(value: Any, references: Mapping[str, Document]) -> None:
    """Raises `ValueError`, which says what is wrong and where (`/Bar/price`)."""
    others = _in_order(references)
    reading = _Reading()
    for each in (*others, value):
        reading.type(each, "", "")
    for default in reading.defaults:
        check_default(default, reading.known)
    _ask_fastavro(value, others)


def _in_order(references: Mapping[str, Document]) -> list[Any]:
    """The values of all documents that are referred to, each once, after those that it refers to itself."""
    found: dict[str, Any] = {}
    seen: set[int] = set()

    def add(document: Document) -> None:
        # Many ways may lead to one document.
        if id(document) not in seen:
            seen.add(id(document))
            for each in document.references.values():
                add(each)
            found.setdefault(ordered(document.value), document.value)

    for document in references.values():
        add(document)
    return list(found.values())


def _ask_fastavro(value: Any, others: list[Any]) -> None:
    try:
        from fastavro.schema import SchemaParseException, UnknownType, parse_schema
    except ImportError:
        raise MissingDependencyError("fastavro", extra="schemas") from None
    names: dict[str, Any] = {}
    try:
        for each in (*others, value):
            parse_schema(each, named_schemas=names)
    except (SchemaParseException, UnknownType) as error:
        raise ValueError(f"fastavro cannot read it: {error}") from None


class _Reading:
    """One walk through a schema: the names that are known so far, and the defaults to look at in the end."""

    def __init__(self) -> None:
        self.known: dict[str, Defined] = {}
        self.defaults: list[Default] = []

    def type(self, node: Any, around: str, path: str) -> str:
        """Checks one schema. Its key: no union may hold two of the same."""
        if isinstance(node, str):
            return self._named(node, around, path)
        if isinstance(node, list):
            return self._union(node, around, path)
        if not isinstance(node, dict):
            raise _wrong(path, f"{_short(node)} is no type")
        kind = node.get("type")
        if kind is None:
            raise _wrong(path, "an object has no 'type'")
        if not isinstance(kind, str):
            raise _wrong(path, "the 'type' of an object must be a text; write the type itself instead")
        if kind in NAMED:
            return self._definition(kind, node, around, path)
        if kind == "array" or kind == "map":
            part = "items" if kind == "array" else "values"
            if part not in node:
                raise _wrong(path, f"the {kind} has no {part!r}")
            self.type(node[part], around, path + ("/[]" if kind == "array" else "/{}"))
            return kind
        return self._named(kind, around, path)

    def _named(self, name: str, around: str, path: str) -> str:
        if name in PRIMITIVES:
            return name
        full = full_name(name, around)
        if full not in self.known:
            raise _wrong(
                path, f"the type {full!r} is not known: it is neither defined before nor referred to"
            )
        return full

    def _union(self, branches: list[Any], around: str, path: str) -> str:
        seen: set[str] = set()
        for branch in branches:
            if isinstance(branch, list):
                raise _wrong(path, "a union lies directly in a union")
            key = self.type(branch, around, path)
            if key in seen:
                raise _wrong(path, f"the union has two branches of type {key!r}")
            seen.add(key)
        return "union"

    def _definition(self, kind: str, node: dict[str, Any], around: str, path: str) -> str:
        name, given = node.get("name"), node.get("namespace")
        if not isinstance(name, str) or not name or not is_namespace(name):
            raise _wrong(path, f"{_short(name)} is no name for {_a(kind)}")
        if given is not None and not is_namespace(given):
            raise _wrong(path, f"{_short(given)} is no namespace")
        full = defined_name(name, given, around)
        if full.rpartition(".")[2] in PRIMITIVES:
            raise _wrong(path, f"{full!r} has the name of a primitive type")
        if full in self.known:
            raise _wrong(path, f"{full!r} is defined twice")
        self._aliases(node, path)
        inside = namespace_of(full)
        self.known[full] = Defined(node, inside)
        path = path or f"/{full.rpartition('.')[2]}"
        if kind == "record":
            self._fields(node, inside, path)
        elif kind == "enum":
            self._symbols(node, path)
        elif not _is_size(node.get("size")):
            raise _wrong(path, f"{_short(node.get('size'))} is no size of a fixed: give a number of bytes")
        return full

    def _fields(self, node: dict[str, Any], inside: str, path: str) -> None:
        fields = node.get("fields")
        if not isinstance(fields, list):
            raise _wrong(path, "the record has no list of 'fields'")
        seen: set[str] = set()
        for field in fields:
            if not isinstance(field, dict):
                raise _wrong(path, f"{_short(field)} is no field")
            name = field.get("name")
            if not isinstance(name, str) or not is_name(name):
                raise _wrong(path, f"{_short(name)} is no name for a field")
            if name in seen:
                raise _wrong(path, f"the field {name!r} is there twice")
            seen.add(name)
            place = f"{path}/{name}"
            if "type" not in field:
                raise _wrong(place, "the field has no 'type'")
            if field.get("order", "ascending") not in _ORDERS:
                raise _wrong(place, f"{_short(field['order'])} is no order; known are {', '.join(_ORDERS)}")
            self._aliases(field, place)
            self.type(field["type"], inside, place)
            if "default" in field:
                self.defaults.append(Default(field["default"], field["type"], inside, place))

    def _symbols(self, node: dict[str, Any], path: str) -> None:
        symbols = node.get("symbols")
        if not isinstance(symbols, list) or not symbols:
            raise _wrong(path, "the enum has no list of 'symbols'")
        for symbol in symbols:
            if not is_name(symbol):
                raise _wrong(path, f"{_short(symbol)} is no symbol: it must be a name")
        if len(set(symbols)) < len(symbols):
            raise _wrong(path, "the enum has a symbol twice")
        if "default" in node and node["default"] not in symbols:
            raise _wrong(path, f"the default {_short(node['default'])} is none of the symbols")

    @staticmethod
    def _aliases(node: dict[str, Any], path: str) -> None:
        aliases = node.get("aliases", [])
        if not isinstance(aliases, list):
            raise _wrong(path, "'aliases' is no list")
        for alias in aliases:
            if not alias or not is_namespace(alias):
                raise _wrong(path, f"{_short(alias)} is no alias: it must be a name")


def _is_size(size: Any) -> bool:
    return isinstance(size, int) and not isinstance(size, bool) and 0 <= size < 2**31


def _a(kind: str) -> str:
    return f"an {kind}" if kind == "enum" else f"a {kind}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _wrong(path: str, what: str) -> ValueError:
    return ValueError(f"at {path or 'the root'}: {what}")
