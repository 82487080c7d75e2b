"""When two schemas are the same: the stored text, its normal form, and the identity of both."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from qmtl.foundation.schema import avro_names
from qmtl.foundation.schema.canonical_form.avro import printed_form
from qmtl.foundation.schema.canonical_form.jackson import printed
from qmtl.foundation.schema.documents import Schema, SchemaType
from qmtl.foundation.schema.json_values import in_order, ordered, parse

# Attributes of Avro that hold schemas. All others are values, whose inside is not touched.
_SCHEMAS_IN = ("items", "values")


def stored(schema: Schema) -> Schema:
    """The schema with the text that is stored, which is the one that Confluent's registry stores.

    Avro: the form that Avro's own parser prints (avro.py). JSON Schema: the text as it was sent, without
    space outside of strings and needless escapes; the order of names and the digits of a number stay, and so
    distinguish schemas. Raises `ValueError` where the text is no JSON.
    """
    if schema.type is SchemaType.AVRO:
        text = printed(printed_form(parse(schema.text)))
    else:
        text = printed(parse(schema.text, exact=True))
    return Schema(text, schema.type, tuple(schema.references))


def normal(schema: Schema) -> Schema:
    """The same for more texts that mean the same, with references in order.

    As `stored`, and JSON Schema: the names of objects are sorted. Avro: aliases and properties that the
    specification does not know are sorted as well. Everything that readers or people rely on stays.
    Raises `ValueError` where the text is no JSON.
    """
    if schema.type is SchemaType.AVRO:
        text = printed(printed_form(parse(schema.text), normalize=True))
    else:
        text = printed(in_order(parse(schema.text, exact=True)))
    return Schema(text, schema.type, tuple(sorted(set(schema.references))))


def identity(schema: Schema) -> str:
    """64 hex digits; equal for equal type, text and references. Takes the schema as `stored` or `normal`."""
    return _digest(schema.type, schema.text, schema.references)


def first_identity(schema: Schema) -> str:
    """The identity of a JSON Schema in the first format of the registry's file.

    That format stored numbers as doubles, so the digits that were written are lost.
    """
    return _digest("first", schema.type, printed(parse(schema.text)), schema.references)


def identities(schema: Schema) -> tuple[str, ...]:
    """All under which a schema may be registered. Takes it as `identity` does."""
    if schema.type is SchemaType.AVRO:
        return (identity(schema),)
    return identity(schema), first_identity(schema)


def bundle_text(schema: Schema) -> str:
    """One text for type, meaning and references: stable against space, order of names and of references.

    It is what a bundle's SHA is computed from, and that stands in audit logs: it must never change. JSON
    Schema: the names of objects are sorted. Avro: as its Parsing Canonical Form (names are full, a primitive
    type is a plain text), but sorted, and everything stays. Raises `ValueError` where the text is no
    JSON.
    """
    value = parse(schema.text)
    if schema.type is SchemaType.AVRO:
        value = _avro(value, "")
    return ordered([schema.type, value, sorted(set(schema.references))])


def _digest(*parts: Any) -> str:
    return sha256(ordered(list(parts)).encode()).hexdigest()


def _avro(node: Any, around: str) -> Any:
    """A schema within a namespace, as a bundle says it. What is no schema stays as it is."""
    if isinstance(node, str):
        return node if node in avro_names.PRIMITIVES else avro_names.full_name(node, around)
    if isinstance(node, list):
        return [_avro(branch, around) for branch in node]
    if not isinstance(node, dict):
        return node
    result = dict(node)
    kind = node.get("type")
    if kind in avro_names.NAMED and isinstance(node.get("name"), str):
        around = _name(result, around)
    for key in _SCHEMAS_IN:
        if key in result:
            result[key] = _avro(result[key], around)
    if kind == "record" and isinstance(node.get("fields"), list):
        result["fields"] = [_field(field, around) for field in node["fields"]]
    if isinstance(kind, str) and kind not in avro_names.NAMED and kind not in ("array", "map"):
        result["type"] = _avro(kind, around)
        return result["type"] if len(result) == 1 else result
    return result


def _name(result: dict[str, Any], around: str) -> str:
    """Makes the names of a definition full; the namespace of what is inside."""
    given = result.pop("namespace", None)
    full = avro_names.defined_name(result["name"], given, around)
    inside = avro_names.namespace_of(full)
    result["name"] = full
    if not inside and around:
        # Without a dot the name would lie in the namespace around it.
        result["namespace"] = ""
    if isinstance(result.get("aliases"), list):
        result["aliases"] = [
            avro_names.full_name(alias, inside) if isinstance(alias, str) else alias
            for alias in result["aliases"]
        ]
    return inside


def _field(field: Any, around: str) -> Any:
    if not isinstance(field, dict) or "type" not in field:
        return field
    return {**field, "type": _avro(field["type"], around)}
