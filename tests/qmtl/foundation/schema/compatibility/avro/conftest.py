"""What fastavro says of an instance, asked with the schemas as they were written."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import fastavro
import pytest
from fastavro.read import SchemaResolutionError

from qmtl.foundation.schema.documents import Document, SchemaType

PRIMITIVES = {"null", "boolean", "int", "long", "float", "double", "bytes", "string"}


class Library:
    """fastavro, given the JSON of both schemas, and instances in Avro's JSON encoding."""

    def says(
        self,
        writer: Any,
        reader: Any,
        instance: Any,
        writer_refers: Mapping[str, Any] | None = None,
        reader_refers: Mapping[str, Any] | None = None,
    ) -> str:
        """`refused`, `read`, or the error that it stumbled over. Raises where the instance cannot be written.

        The last two are the schemas that each side refers to, inner ones first.
        """
        names: dict[str, Any] = {}
        for schema in (writer_refers or {}).values():
            fastavro.parse_schema(schema, names)
        parsed = fastavro.parse_schema(writer, names)
        datum = self.decode(instance, parsed, names)
        read_names: dict[str, Any] = {}
        for schema in (reader_refers or {}).values():
            fastavro.parse_schema(schema, read_names)
        return self.reads(parsed, fastavro.parse_schema(reader, read_names), datum)

    def reads(self, writer: Any, reader: Any, datum: Any) -> str:
        """The same of a value as fastavro itself has it, branches of unions as pairs."""
        written = io.BytesIO()
        fastavro.schemaless_writer(written, writer, datum)
        written.seek(0)
        try:
            fastavro.schemaless_reader(written, writer, reader)
        except SchemaResolutionError:
            return "refused"
        except Exception as error:  # noqa: BLE001 - which error it is, is what the tests ask
            return type(error).__name__
        return "read"

    def decode(self, value: Any, schema: Any, names: Mapping[str, Any]) -> Any:
        """From the JSON encoding, by a schema that fastavro has parsed; every part must be as it says."""
        if isinstance(schema, list):
            if value is None:
                assert "null" in schema
                return ("null", None)
            ((name, value_here),) = value.items()
            (branch,) = [branch for branch in schema if self._branch_name(branch) == name]
            return (name, self.decode(value_here, branch, names))
        kind = schema["type"] if isinstance(schema, dict) else schema
        if kind not in PRIMITIVES and kind in names:
            return self.decode(value, names[kind], names)
        if kind == "record":
            assert list(value) == [field["name"] for field in schema["fields"]]
            return {
                field["name"]: self.decode(value[field["name"]], field["type"], names)
                for field in schema["fields"]
            }
        if kind == "array":
            return [self.decode(item, schema["items"], names) for item in value]
        if kind == "map":
            return {key: self.decode(item, schema["values"], names) for key, item in value.items()}
        if kind in ("bytes", "fixed"):
            return value.encode("iso-8859-1")
        return value

    def _branch_name(self, branch: Any) -> str:
        name: str = branch if isinstance(branch, str) else branch.get("name", branch["type"])
        return name


@pytest.fixture(scope="session")
def library() -> Library:
    return Library()


@pytest.fixture(scope="session")
def document() -> Any:
    """A document from JSON, its references as JSON by name."""

    def make(value: Any, references: Mapping[str, Any] | None = None) -> Document:
        refers = {name: make(schema) for name, schema in (references or {}).items()}
        return Document(SchemaType.AVRO, value, refers)

    return make
