"""Modes: readonly, imports, and what goes with a subject."""

from __future__ import annotations

from qmtl.foundation.schema.compatibility.levels import Level
from qmtl.foundation.schema.registry.contract import Mode, SchemaRegistry
from qmtl.runtime.testing.registry_suites.schemas import CLOSE, OPEN, bar, refused


class ModesSuite:
    """Inherit it, and give a fixture `registry` that is a client of an empty registry."""

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
