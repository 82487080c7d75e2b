"""The registries that cases work on: a server in a process of its own, and schemas of any size."""

from __future__ import annotations

import json

from qmtl.foundation.schema.documents import Schema, SchemaType


def avro(fields: int, *, name: str = "Bar", more: int = 0) -> Schema:
    """A record of so many fields of all kinds, and `more` that have defaults."""
    kinds = ("double", "long", "string", ["null", "string"], {"type": "array", "items": "int"})
    own = [{"name": f"field_{n}", "type": kinds[n % len(kinds)]} for n in range(fields)]
    new = [{"name": f"more_{n}", "type": "double", "default": 0.0} for n in range(more)]
    return Schema(json.dumps({"type": "record", "name": name, "fields": own + new}))


def json_schema(fields: int, *, title: str = "Bar", more: int = 0) -> Schema:
    """An open object of so many required properties of all kinds, and `more` that are not required."""
    kinds = (
        {"type": "number", "minimum": 0},
        {"type": "integer"},
        {"type": "string", "maxLength": 20},
        {"enum": ["buy", "sell", None]},
        {"type": "array", "items": {"type": "integer"}},
    )
    own = {f"field_{n}": kinds[n % len(kinds)] for n in range(fields)}
    new = {f"more_{n}": {"type": "number"} for n in range(more)}
    value = {"title": title, "type": "object", "properties": own | new, "required": list(own)}
    # A property that is named later was allowed to be anything before, which no reader could promise to read.
    return Schema(json.dumps({**value, "additionalProperties": False}), SchemaType.JSON)
