"""The schemas that the suites of registries register, and how a refusal is asserted."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TypeAlias

import pytest

from qmtl.foundation.errors import SchemaRegistryError
from qmtl.foundation.schema.documents import Reference, Schema, SchemaType

Field: TypeAlias = Mapping[str, object]

# Fields of a record `Bar`, and what is added to them.
OPEN: Field = {"name": "open", "type": "double"}
CLOSE: Field = {"name": "close", "type": "double", "default": 0.0}
VOLUME: Field = {"name": "volume", "type": "double"}


def bar(*fields: Field, name: str = "Bar") -> str:
    """The text of an Avro record."""
    return json.dumps({"type": "record", "name": name, "fields": list(fields)})


def json_schema(value: object, *references: Reference) -> Schema:
    return Schema(json.dumps(value), SchemaType.JSON, references)


@contextmanager
def refused(code: int) -> Iterator[None]:
    """What is inside is refused with this code, and with the status of HTTP that belongs to it."""
    with pytest.raises(SchemaRegistryError) as error:
        yield
    assert error.value.code == code, str(error.value)
    assert error.value.status == code // 100
