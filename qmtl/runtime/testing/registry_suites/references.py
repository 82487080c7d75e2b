"""A schema that refers to another, and what may be deleted then."""

from __future__ import annotations

from qmtl.foundation.schema.documents import Reference, Schema
from qmtl.foundation.schema.registry.contract import SchemaRegistry
from qmtl.runtime.testing.registry_suites.schemas import OPEN, bar, refused


class ReferencesSuite:
    """Inherit it, and give a fixture `registry` that is a client of an empty registry."""

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
