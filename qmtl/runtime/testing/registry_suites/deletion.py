"""Soft and permanent deletion; numbers and ids are not given again."""

from __future__ import annotations

from qmtl.foundation.schema.registry.contract import SchemaRegistry, Usage
from qmtl.runtime.testing.registry_suites.schemas import CLOSE, OPEN, VOLUME, bar, refused


class DeletionSuite:
    """Inherit it, and give a fixture `registry` that is a client of an empty registry."""

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
