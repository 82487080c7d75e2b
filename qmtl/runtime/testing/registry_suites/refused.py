"""Schemas that cannot be read are refused, and by what."""

from __future__ import annotations

import pytest

from qmtl.foundation.errors import SchemaRegistryError
from qmtl.foundation.schema.registry.contract import SchemaRegistry
from qmtl.runtime.testing.registry_suites.schemas import OPEN, bar, json_schema, refused


class RefusedSchemasSuite:
    """Inherit it, and give a fixture `registry` that is a client of an empty registry."""

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "{",
            "nonsense",
            '{"type": "record"}',
            '{"type": "unknown"}',
            '["int", "int"]',
            '{"type": "record", "name": "A", "fields": [], "fields": []}',
            '{"type": "record", "name": "A", "fields": [{"name": "b", "type": "int", "default": "x"}]}',
            '{"type": "record", "name": "A", "fields": [{"name": "b", "type": "Missing"}]}',
            "[" * 10_000 + "]" * 10_000,
            '{"type": "array", "items": ' * 10_000 + '"int"' + "}" * 10_000,
        ],
        ids=lambda text: text[:40],
    )
    def test_what_is_no_avro_schema_is_refused(self, registry: SchemaRegistry, text: str) -> None:
        with refused(42201):
            registry.register("a", text)
        with refused(42201):
            registry.check("a", text)
        with refused(42201):
            registry.lookup("a", text)
        assert registry.subjects() == ()
        registry.register("a", '"int"')
        with refused(42201):
            registry.lookup("a", text)

    @pytest.mark.parametrize(
        "value",
        [
            1,
            [],
            {"type": "unknown"},
            {"properties": 3},
            {"$ref": "#/nowhere"},
            {"$ref": "missing.json"},
            {"pattern": "("},
            {"$schema": "http://json-schema.org/draft-04/schema#"},
        ],
    )
    def test_what_is_no_json_schema_is_refused(self, registry: SchemaRegistry, value: object) -> None:
        for ask in (registry.register, registry.lookup):
            with refused(42201):
                ask("a", json_schema(value))
        assert registry.subjects() == ()

    def test_a_schema_of_5_mb_is_refused(self, registry: SchemaRegistry) -> None:
        # A server may cut it off before it is read as a schema.
        with pytest.raises(SchemaRegistryError) as error:
            registry.register("a", bar(OPEN, name="B" * 5_000_000))
        assert error.value.code in (42209, 413)
        assert registry.subjects() == ()
