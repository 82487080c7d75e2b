"""What every schema registry promises, in this process or behind a URL, as tests that a client inherits."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeAlias

import pytest

from qmtl.foundation.errors import IncompatibleSchemaError, SchemaRegistryError
from qmtl.foundation.schema.compatibility.levels import Level
from qmtl.foundation.schema.documents import Reference, Schema, SchemaType
from qmtl.foundation.schema.registry.contract import Mode, Registered, SchemaRegistry, Usage

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


class RegistrySuite:
    """Inherit it, and give a fixture `registry` that is a client of an empty registry."""

    # Versions and ids

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
        with refused(42202):
            registry.check("a", '"int"', version=version)

    # Schemas that cannot be read

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

    # References

    def test_a_schema_may_refer_to_another(self, registry: SchemaRegistry) -> None:
        registry.register("price", bar(OPEN, name="Price"))
        reference = Reference("Price", "price", 1)
        user = Schema(bar({"name": "price", "type": "Price"}), references=(reference,))
        done = registry.register("bars", user)
        assert done.schema.references == (reference,)
        assert registry.referenced_by("price", 1) == (done.id,)
        assert registry.referenced_by("price", "latest") == (done.id,)
        assert registry.referenced_by("bars", 1) == ()

    def test_a_reference_that_leads_nowhere_is_refused(self, registry: SchemaRegistry) -> None:
        user = bar({"name": "price", "type": "Price"})
        for reference in (Reference("Price", "price", 1), Reference("Price", "bars", 1)):
            for ask in (registry.register, registry.lookup):
                with refused(42201):
                    ask("bars", Schema(user, references=(reference,)))
        assert registry.subjects() == ()

    def test_what_is_referred_to_stays(self, registry: SchemaRegistry) -> None:
        registry.register("price", bar(OPEN, name="Price"))
        user = Schema(bar({"name": "p", "type": "Price"}), references=(Reference("Price", "price", 1),))
        registry.register("bars", user)
        with refused(42206):
            registry.delete_version("price", 1)
        with refused(42206):
            registry.delete_subject("price")
        registry.delete_subject("bars")
        assert registry.referenced_by("price", 1) == ()
        registry.delete_subject("price")
        with refused(42206):
            registry.delete_subject("price", permanent=True)
        with refused(42201):
            registry.register("bars", user)
        registry.delete_subject("bars", permanent=True)
        assert registry.delete_subject("price", permanent=True) == (1,)

    def test_a_subject_that_refers_to_itself_goes_as_a_whole(self, registry: SchemaRegistry) -> None:
        registry.set_level("NONE")
        registry.register("a", bar(OPEN, name="A"))
        registry.register("a", Schema(bar({"name": "f", "type": "A"}), references=(Reference("A", "a", 1),)))
        with refused(42206):
            registry.delete_version("a", 1)
        assert registry.delete_subject("a") == (1, 2)
        with refused(42206):
            registry.delete_version("a", 1, permanent=True)
        assert registry.delete_subject("a", permanent=True) == (1, 2)

    # Deletion

    def test_a_softly_deleted_version_can_be_looked_through(self, registry: SchemaRegistry) -> None:
        first = registry.register("a", bar(OPEN))
        second = registry.register("a", bar(OPEN, CLOSE))
        assert registry.delete_version("a", "latest") == 2
        assert registry.versions("a") == (1,)
        assert registry.versions("a", deleted=True) == (1, 2)
        assert registry.versions("a", deleted_only=True) == (2,)
        assert registry.version("a", "latest") == first
        assert registry.version("a", 2, deleted=True) == second
        assert registry.version("a", "latest", deleted=True) == second
        assert registry.lookup("a", bar(OPEN, CLOSE), deleted=True) == second
        assert registry.by_id(second.id) == second.schema
        assert registry.usages(second.id) == ()
        assert registry.usages(second.id, deleted=True) == (Usage("a", 2),)
        with refused(40402):
            registry.version("a", 2)
        with refused(40403):
            registry.lookup("a", bar(OPEN, CLOSE))
        with refused(40406):
            registry.delete_version("a", 2)

    def test_a_number_is_not_given_again(self, registry: SchemaRegistry) -> None:
        registry.register("a", bar(OPEN))
        gone = registry.register("a", bar(OPEN, CLOSE))
        registry.delete_version("a", 2)
        again = registry.register("a", bar(OPEN, CLOSE))
        assert (again.version, again.id) == (3, gone.id)
        assert registry.versions("a", deleted=True) == (1, 2, 3)

    def test_a_permanent_deletion_needs_the_soft_one(self, registry: SchemaRegistry) -> None:
        registry.register("a", bar(OPEN))
        registry.register("a", bar(OPEN, CLOSE))
        with refused(40407):
            registry.delete_version("a", 1, permanent=True)
        with refused(40405):
            registry.delete_subject("a", permanent=True)
        registry.delete_version("a", 1)
        with refused(40405):
            registry.delete_subject("a", permanent=True)
        assert registry.delete_version("a", 1, permanent=True) == 1
        with refused(40402):
            registry.version("a", 1, deleted=True)
        with refused(40403):
            registry.usages(1, deleted=True)
        assert registry.delete_subject("a") == (2,)
        with refused(40404):
            registry.delete_subject("a")
        assert registry.subjects() == ()
        assert registry.subjects(deleted=True) == registry.subjects(deleted_only=True) == ("a",)
        with refused(40401):
            registry.versions("a")
        assert registry.delete_subject("a", permanent=True) == (2,)
        assert registry.subjects(deleted=True) == ()
        with refused(40401):
            registry.delete_subject("a", permanent=True)

    def test_an_id_is_never_given_twice(self, registry: SchemaRegistry) -> None:
        first = registry.register("a", bar(OPEN))
        registry.delete_subject("a")
        registry.delete_subject("a", permanent=True)
        other = registry.register("a", bar(VOLUME))
        again = registry.register("b", bar(OPEN))
        assert (other.version, again.version) == (1, 1)
        assert len({first.id, other.id, again.id}) == 3

    # Levels

    @pytest.mark.parametrize("level", list(Level))
    def test_a_level_holds_globally_or_for_a_subject(self, registry: SchemaRegistry, level: Level) -> None:
        assert registry.set_level(level.value.lower()) is level
        assert registry.level() is registry.level("a", or_global=True) is level
        assert registry.set_level("NONE", "a") is Level.NONE
        assert (registry.level("a"), registry.level()) == (Level.NONE, level)
        assert registry.clear_level("a") is Level.NONE
        with refused(40408):
            registry.level("a")
        assert registry.clear_level() is level
        assert registry.level() is Level.BACKWARD

    def test_a_word_that_is_no_level_or_mode_is_refused(self, registry: SchemaRegistry) -> None:
        with refused(42203):
            registry.set_level("SIDEWARD")
        with refused(42204):
            registry.set_mode("SIDEWARD")
        assert (registry.level(), registry.mode()) == (Level.BACKWARD, Mode.READWRITE)

    # A field without a default may be dropped but not added: readers skip one, and miss the other. Forward it
    # is the other way.
    ADDED, DROPPED, BOTH = bar(OPEN, VOLUME), bar(), bar(OPEN, CLOSE)

    @pytest.mark.parametrize(
        ("level", "taken", "refusal"),
        [
            (Level.NONE, (ADDED, DROPPED, '"string"'), ()),
            (Level.BACKWARD, (DROPPED, BOTH), (ADDED, '"string"')),
            (Level.FORWARD, (ADDED, BOTH), (DROPPED, '"string"')),
            (Level.FULL, (BOTH,), (ADDED, DROPPED, '"string"')),
        ],
    )
    def test_a_level_decides_what_is_taken(
        self, registry: SchemaRegistry, level: Level, taken: tuple[str, ...], refusal: tuple[str, ...]
    ) -> None:
        registry.set_level(level, "a")
        registry.register("a", bar(OPEN))
        for text in refusal:
            checked = registry.check("a", text)
            assert {one.direction for one in checked} == set(level.directions)
            assert not all(one.verdict.is_compatible for one in checked)
            with pytest.raises(IncompatibleSchemaError) as error:
                registry.register("a", text)
            assert (error.value.code, error.value.status) == (40901, 409)
            assert [one for one in error.value.comparisons if one.verdict.problems]
            assert registry.versions("a") == (1,)
        for text in taken:
            assert all(one.verdict.is_compatible for one in registry.check("a", text))
            registry.register("a", text)
            registry.delete_version("a", "latest")

    def test_only_a_transitive_level_looks_past_the_latest(self, registry: SchemaRegistry) -> None:
        registry.register("a", bar(OPEN))
        registry.register("a", bar())
        filled = bar({**OPEN, "type": "string", "default": ""})
        assert [one.version for one in registry.check("a", filled)] == [2]
        registry.set_level("BACKWARD_TRANSITIVE")
        checked = registry.check("a", filled)
        assert [(one.version, one.verdict.is_compatible) for one in checked] == [(2, True), (1, False)]
        with refused(40901):
            registry.register("a", filled)
        registry.delete_version("a", 1)
        assert registry.register("a", filled).version == 3

    def test_a_check_of_one_version_compares_with_that_alone(self, registry: SchemaRegistry) -> None:
        registry.set_level("BACKWARD_TRANSITIVE")
        registry.register("a", bar(OPEN))
        registry.register("a", bar(OPEN, CLOSE))
        for version, number in (("latest", 2), (1, 1), (2, 2)):
            checked = registry.check("a", bar(OPEN, VOLUME), version=version)  # type: ignore[arg-type]  # it is one
            assert [one.version for one in checked] == [number]
            assert not checked[0].verdict.is_compatible
        with refused(40402):
            registry.check("a", bar(OPEN), version=3)

    def test_nothing_to_compare_with_is_compatible(self, registry: SchemaRegistry) -> None:
        assert registry.check("a", bar(OPEN)) == registry.check("a", bar(OPEN), version="latest") == ()
        registry.register("a", bar(OPEN))
        registry.set_level("NONE")
        assert registry.check("a", '"string"') == registry.check("a", '"string"', version=1) == ()
        registry.delete_subject("a")
        registry.set_level("FULL_TRANSITIVE")
        assert registry.check("a", '"string"') == ()

    def test_a_problem_says_where_why_and_shows_an_instance(self, registry: SchemaRegistry) -> None:
        registry.register("a", bar(OPEN))
        (one,) = registry.check("a", bar(OPEN, VOLUME))
        (problem,) = one.verdict.problems
        assert (one.version, one.direction) == (1, "backward")
        assert problem.path.endswith("/volume")
        assert problem.rule.startswith("avro.")
        assert problem.counterexample is not None
        assert not problem.undecided

    def test_a_subject_keeps_its_language(self, registry: SchemaRegistry) -> None:
        registry.register("a", bar(OPEN))
        (one,) = registry.check("a", json_schema({"type": "object"}))
        (problem,) = one.verdict.problems
        assert problem.rule == "schema.type_changed"
        assert (problem.writer, problem.reader) == ("AVRO", "JSON")
        assert problem.counterexample is None
        with refused(40901):
            registry.register("a", json_schema({"type": "object"}))

    # Modes

    def test_readonly_changes_nothing(self, registry: SchemaRegistry) -> None:
        first = registry.register("a", bar(OPEN))
        registry.register("b", bar(OPEN))
        assert registry.set_mode("readonly", "a") is Mode.READONLY
        for change in (
            lambda: registry.register("a", bar(OPEN, CLOSE)),
            lambda: registry.delete_version("a", 1),
            lambda: registry.delete_subject("a"),
            lambda: registry.set_level("FULL", "a"),
        ):
            with refused(42205):
                change()
        assert registry.register("a", bar(OPEN)) == first
        assert registry.register("b", bar(OPEN, CLOSE)).version == 2
        assert registry.clear_mode("a") is Mode.READONLY
        assert registry.register("a", bar(OPEN, CLOSE)).version == 2

    def test_a_mode_of_its_own_goes_before_the_global_one(self, registry: SchemaRegistry) -> None:
        registry.set_mode(Mode.READONLY)
        assert registry.mode("a", or_global=True) is Mode.READONLY
        with refused(40409):
            registry.mode("a")
        with refused(42205):
            registry.register("a", '"int"')
        registry.set_mode(Mode.READWRITE, "a")
        assert registry.register("a", '"int"').id == 1
        assert registry.clear_mode() is Mode.READONLY
        assert registry.mode() is Mode.READWRITE

    def test_an_import_gives_versions_and_ids(self, registry: SchemaRegistry) -> None:
        with refused(42205):
            registry.register("a", bar(OPEN), version=3, id=7)
        registry.set_mode("IMPORT", "a")
        with refused(42205):
            registry.register("a", bar(OPEN))
        assert registry.register("a", bar(OPEN), version=3, id=7)[1:3] == (3, 7)
        assert registry.register("a", bar(OPEN), version=3, id=7)[1:3] == (3, 7)
        # Setting the value that is already set does not need an empty subject.
        assert registry.set_mode("IMPORT", "a") is Mode.IMPORT
        assert registry.register("a", '"string"', version=1, id=5)[1:3] == (1, 5)
        assert registry.versions("a") == (1, 3)
        for code, text, version, id in (
            (42205, '"int"', 3, 8),
            (42205, '"int"', 4, 7),
            (42207, bar(OPEN), 4, 8),
            (42202, '"int"', 0, 8),
            (42202, '"int"', 4, 2**31),
        ):
            with refused(code):
                registry.register("a", text, version=version, id=id)
        registry.set_mode("READWRITE", "a")
        registry.set_level("NONE", "a")
        assert registry.register("a", '"int"')[1:3] == (4, 8)

    def test_an_import_wants_an_empty_place(self, registry: SchemaRegistry) -> None:
        registry.register("a", bar(OPEN))
        for subject in ("a", None):
            with refused(42205):
                registry.set_mode("IMPORT", subject)
        assert registry.set_mode("IMPORT", "b") is Mode.IMPORT
        assert registry.set_mode("IMPORT", "a", force=True) is Mode.IMPORT
        assert registry.versions("a") == (1,)
        registry.clear_mode("a")
        registry.delete_subject("a")
        assert registry.set_mode("IMPORT", "a") is Mode.IMPORT
        assert registry.subjects(deleted=True) == ()

    def test_a_deleted_subject_loses_its_level_and_mode(self, registry: SchemaRegistry) -> None:
        registry.register("a", bar(OPEN))
        registry.set_level("FULL", "a")
        registry.set_mode("READWRITE", "a")
        registry.delete_subject("a")
        with refused(40408):
            registry.level("a")
        with refused(40409):
            registry.mode("a")

    def test_a_subject_whose_last_version_goes_loses_them_too(self, registry: SchemaRegistry) -> None:
        registry.set_level("NONE", "a")
        registry.register("a", bar(OPEN))
        registry.register("a", bar())
        registry.set_mode("READWRITE", "a")
        registry.delete_version("a", 2)
        assert registry.level("a") is Level.NONE
        registry.delete_version("a", 2, permanent=True)
        assert registry.mode("a") is Mode.READWRITE
        registry.delete_version("a", 1)
        with refused(40408):
            registry.level("a")
        with refused(40409):
            registry.mode("a")

    # Company

    def test_one_schema_at_once_is_one_version(self, registry: SchemaRegistry) -> None:
        done = at_once([lambda: registry.register("a", bar(OPEN)) for _ in range(8)])
        assert set(done) == {registry.version("a", 1)}
        assert registry.versions("a") == (1,)

    def test_different_schemas_at_once_leave_no_gap(self, registry: SchemaRegistry) -> None:
        registry.set_level("NONE")
        texts = [bar(OPEN, name=f"Bar{number}") for number in range(8)]
        done = at_once([lambda text=text: registry.register("a", text) for text in texts])  # type: ignore[misc]  # bound early
        assert sorted(one.version for one in done) == list(range(1, 9))
        assert sorted(one.id for one in done) == list(range(1, 9))
        for text, one in zip(texts, done, strict=True):
            assert registry.version("a", one.version) == one == registry.lookup("a", text)


def at_once(calls: list[Callable[[], Registered]]) -> list[Registered]:
    """Each call in a thread of its own, let go together; their answers."""
    gate = threading.Barrier(len(calls))
    done: dict[int, Registered] = {}
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            gate.wait()
            done[number] = calls[number]()
        except BaseException as failure:  # noqa: BLE001  # handed to the thread that judges
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive(), "a registration hangs"
    assert not failures, failures
    return [done[number] for number in range(len(calls))]
