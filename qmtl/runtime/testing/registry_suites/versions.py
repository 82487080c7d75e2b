"""Versions and ids: what was registered is found in every way, and once."""

from __future__ import annotations

import json

import pytest

from qmtl.foundation.schema.compatibility.levels import Level
from qmtl.foundation.schema.documents import Reference, Schema, SchemaType
from qmtl.foundation.schema.registry.contract import Mode, SchemaRegistry, Usage
from qmtl.runtime.testing.registry_suites.schemas import CLOSE, OPEN, VOLUME, bar, json_schema, refused


class VersionsSuite:
    """Inherit it, and give a fixture `registry` that is a client of an empty registry."""

    def test_an_empty_registry_knows_nothing(self, registry: SchemaRegistry) -> None:
        assert registry.subjects(deleted=True) == ()
        assert (registry.level(), registry.mode()) == (Level.BACKWARD, Mode.READWRITE)
        for code, ask in (
            (40401, lambda: registry.versions("a")),
            (40401, lambda: registry.version("a", 1)),
            (40401, lambda: registry.version("a", "latest")),
            (40401, lambda: registry.lookup("a", bar())),
            (40401, lambda: registry.delete_subject("a")),
            (40401, lambda: registry.delete_version("a", 1)),
            (40401, lambda: registry.referenced_by("a", 1)),
            (40403, lambda: registry.by_id(1)),
            (40403, lambda: registry.usages(1)),
            (40408, lambda: registry.level("a")),
            (40409, lambda: registry.mode("a")),
            (40401, lambda: registry.clear_level("a")),
            (40401, lambda: registry.clear_mode("a")),
        ):
            with refused(code):
                ask()

    def test_what_was_registered_is_found_in_every_way(self, registry: SchemaRegistry) -> None:
        first = registry.register("bars", bar(OPEN))
        assert (first.subject, first.version, first.id) == ("bars", 1, 1)
        assert json.loads(first.schema.text) == json.loads(bar(OPEN))
        second = registry.register("bars", bar(OPEN, CLOSE))
        assert (second.version, second.id) == (2, 2)
        assert registry.version("bars", 1) == first
        assert registry.version("bars", "latest") == registry.version("bars", 2) == second
        assert registry.lookup("bars", bar(OPEN)) == first
        assert registry.by_id(1) == first.schema
        assert registry.by_id(2, subject="bars") == second.schema
        assert registry.versions("bars") == (1, 2)
        assert registry.usages(2) == (Usage("bars", 2),)
        with refused(40402):
            registry.version("bars", 3)
        with refused(40403):
            registry.lookup("bars", bar(VOLUME))
        with refused(40403):
            registry.by_id(3)

    def test_the_same_schema_is_one_version_and_one_id(self, registry: SchemaRegistry) -> None:
        first = registry.register("a", bar(OPEN))
        registry.register("a", bar(OPEN, CLOSE))
        assert registry.register("a", bar(OPEN)) == first
        spaced = json.dumps(json.loads(bar(OPEN)), indent=4)
        assert registry.register("a", spaced) == first
        elsewhere = registry.register("b", bar(OPEN))
        assert (elsewhere.version, elsewhere.id) == (1, first.id)
        assert registry.usages(first.id) == (Usage("a", 1), Usage("b", 1))
        assert registry.versions("a") == (1, 2)

    def test_avro_is_one_schema_however_it_is_spelled(self, registry: SchemaRegistry) -> None:
        """Its own parser prints all of them alike (Avro 1.12, `Schema.toString`)."""
        printed = (
            '{"type":"record","name":"Bar","namespace":"a","fields":['
            '{"name":"ts","type":{"type":"long","logicalType":"timestamp-millis"}},'
            '{"name":"close","type":"double","doc":"last","default":0.0}]}'
        )
        value = json.loads(printed)
        ts, close = value["fields"]
        spelled = [
            printed,
            json.dumps(value, indent=2, sort_keys=True),
            json.dumps({**value, "name": "a.Bar", "namespace": "ignored"}),
            json.dumps(
                {**value, "fields": [ts, {**close, "type": {"type": "double"}, "order": "ascending"}]}
            ),
            json.dumps({**value, "aliases": [], "fields": [ts, {**close, "aliases": []}]}),
            printed.replace("0.0", "0e1"),
        ]
        first = registry.register("a", spelled[1])
        assert first.schema.text == printed
        for text in spelled:
            assert registry.register("a", text) == registry.lookup("a", text) == first
            assert registry.register("b", text)[1:3] == (1, first.id)
        assert registry.versions("a") == registry.versions("b") == (1,)
        assert registry.by_id(first.id).text == printed
        assert registry.register("c", '"string"').id == registry.register("d", '{"type": "string"}').id
        registry.set_level("NONE")
        others = (
            json.dumps({**value, "fields": [close, ts]}),
            json.dumps({**value, "fields": [ts, {**close, "doc": "first"}]}),
            json.dumps({**value, "fields": [ts, {**close, "default": 1.0}]}),
            json.dumps({**value, "venue": "XNYS"}),
        )
        for text in others:
            with refused(40403):
                registry.lookup("a", text)
        assert [registry.register("a", text).version for text in others] == [2, 3, 4, 5]

    def test_json_schema_is_another_one_by_order_and_digits(self, registry: SchemaRegistry) -> None:
        registry.set_level("NONE")
        texts = (
            '{"type":"number","multipleOf":0.1}',
            '{"multipleOf":0.1,"type":"number"}',
            '{"type":"number","multipleOf":0.10}',
        )
        done = [registry.register("a", Schema(text, SchemaType.JSON)) for text in texts]
        assert [(one.version, one.schema.text) for one in done] == list(enumerate(texts, 1))
        spaced = json.dumps(json.loads(texts[0]), indent=1)
        assert registry.lookup("a", Schema(spaced, SchemaType.JSON)) == done[0]
        assert registry.lookup("a", Schema(texts[0], SchemaType.JSON), normalize=True) == done[1]

    def test_language_and_references_belong_to_a_schema(self, registry: SchemaRegistry) -> None:
        registry.register("x", json_schema({"type": "object"}))
        reference = Reference("x.json", "x", 1)
        ids = {
            registry.register("a", Schema('"string"')).id,
            registry.register("b", json_schema(True)).id,
            registry.register("c", json_schema(True, reference)).id,
            registry.register("d", json_schema(True, reference._replace(name="y.json"))).id,
        }
        assert len(ids) == 4
        found = registry.version("c", 1).schema
        assert (found.type, found.references) == (SchemaType.JSON, (reference,))

    def test_normalized_texts_that_mean_the_same_are_the_same(self, registry: SchemaRegistry) -> None:
        registry.set_level("NONE")
        plain = json_schema({"type": "object", "properties": {"a": {"type": "string", "maxLength": 3}}})
        other = json_schema({"properties": {"a": {"maxLength": 3, "type": "string"}}, "type": "object"})
        first = registry.register("a", plain)
        assert registry.register("a", other).version == 2
        assert (
            registry.register("b", plain, normalize=True).id
            == registry.register("b", other, normalize=True).id
        )
        assert registry.lookup("a", other, normalize=True).version == 2
        registry.delete_version("a", 2)
        assert registry.lookup("a", other, normalize=True) == first
        with refused(40403):
            registry.lookup("a", other)

    def test_subjects_are_listed_in_order(self, registry: SchemaRegistry) -> None:
        for subject in ("b", "a", "ab", "B", "é"):
            registry.register(subject, '"int"')
        assert registry.subjects() == ("B", "a", "ab", "b", "é")
        assert registry.subjects(prefix="a") == ("a", "ab")
        assert registry.subjects(prefix="zz") == ()

    @pytest.mark.parametrize(
        "subject",
        ["a/b", "100%", "two words", "a%2Fb", "../x", "a?b#c", "ö名🦆", "+", "x" * 255],
    )
    def test_a_subject_is_any_text(self, registry: SchemaRegistry, subject: str) -> None:
        done = registry.register(subject, '"int"')
        assert registry.subjects() == (subject,)
        assert registry.version(subject, "latest") == done == registry.lookup(subject, '"int"')
        assert registry.usages(done.id) == (Usage(subject, 1),)
        registry.set_level(Level.FULL, subject)
        assert registry.level(subject) is Level.FULL
        assert registry.delete_subject(subject) == (1,)

    @pytest.mark.parametrize("subject", ["a\nb", "\x00", "\x7f", "a\x85", "x" * 256, "é" * 128])
    def test_subjects_that_are_refused(self, registry: SchemaRegistry, subject: str) -> None:
        with refused(42208):
            registry.register(subject, '"int"')
        assert registry.subjects() == ()

    @pytest.mark.parametrize("version", [0, -2, 2**31])
    def test_versions_that_are_refused(self, registry: SchemaRegistry, version: int) -> None:
        registry.register("a", '"int"')
        for ask in (registry.version, registry.delete_version):
            with refused(42202):
                ask("a", version)
