"""Levels of compatibility: where they hold, what they decide, and why."""

from __future__ import annotations

import pytest

from qmtl.foundation.errors import IncompatibleSchemaError
from qmtl.foundation.schema.compatibility.levels import Level
from qmtl.foundation.schema.registry.contract import Mode, SchemaRegistry
from qmtl.runtime.testing.registry_suites.schemas import CLOSE, OPEN, VOLUME, bar, json_schema, refused


class LevelsSuite:
    """Inherit it, and give a fixture `registry` that is a client of an empty registry."""

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
