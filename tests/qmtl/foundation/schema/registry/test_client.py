"""The registry in this process keeps the contract, and answers known ids from memory."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from qmtl.foundation.errors import IncompatibleSchemaError, QmtlError, SchemaRegistryError
from qmtl.foundation.schema import SchemaRegistryClient
from qmtl.foundation.schema.documents import Reference, Schema, SchemaType
from qmtl.foundation.schema.registry.memory_storage import MemoryStorage
from qmtl.foundation.schema.registry.storage import RegistryView
from qmtl.foundation.settings import Settings
from qmtl.runtime.testing.registry_suite import RegistrySuite
from qmtl.runtime.testing.registry_suites.at_once import at_once
from qmtl.runtime.testing.registry_suites.schemas import OPEN, VOLUME, bar, refused


class TestSchemaRegistryClient(RegistrySuite):
    @pytest.fixture
    def registry(self) -> SchemaRegistryClient:
        return SchemaRegistryClient()


@pytest.mark.parametrize("subject", [".", "..", "\u200b", " ", "null", "latest"])
def test_odd_subjects(subject: str) -> None:
    registry = SchemaRegistryClient()
    assert registry.register(subject, '"int"') == registry.version(subject, "latest")


@pytest.mark.parametrize("subject", ["", "\ud800"])
def test_subjects_that_no_address_can_hold_are_refused(subject: str) -> None:
    registry = SchemaRegistryClient()
    for ask in (registry.versions, registry.delete_subject, registry.level, registry.mode):
        with refused(42208):
            ask(subject)
    with refused(42208):
        registry.set_level("FULL", subject)
    assert registry.level().value == "BACKWARD"


@pytest.mark.parametrize("version", [True, 1.0, "1", "newest", None, -1])
def test_what_is_no_version_is_refused(version: object) -> None:
    registry = SchemaRegistryClient()
    registry.register("a", '"int"')
    with refused(42202):
        registry.version("a", version)  # type: ignore[arg-type]  # that is the point
    with refused(42202):
        registry.referenced_by("a", version)  # type: ignore[arg-type]  # that is the point


class Unplugged(MemoryStorage):
    """A storage that can be taken away."""

    is_there = True

    @contextmanager
    def reading(self) -> Iterator[RegistryView]:
        if not self.is_there:
            raise SchemaRegistryError("the disk is gone", code=50001)
        with super().reading() as view:
            yield view


def test_a_known_id_needs_no_storage() -> None:
    storage = Unplugged()
    registry = SchemaRegistryClient(storage)
    done = registry.register("a", bar(OPEN))
    other = registry.register("b", bar(VOLUME))
    assert registry.by_id(done.id) == done.schema
    storage.is_there = False
    assert registry.by_id(done.id) == done.schema
    with refused(50001):
        registry.by_id(other.id)


def test_an_id_that_was_deleted_is_not_remembered() -> None:
    registry = SchemaRegistryClient()
    done = registry.register("a", bar(OPEN))
    assert registry.by_id(done.id) == done.schema
    registry.delete_subject("a")
    assert registry.by_id(done.id) == done.schema
    registry.delete_subject("a", permanent=True)
    with refused(40403):
        registry.by_id(done.id)


def test_two_clients_of_one_storage_give_one_id_and_leave_no_gap() -> None:
    storage = MemoryStorage()
    clients = [SchemaRegistryClient(storage) for _ in range(8)]
    clients[0].set_level("NONE")
    same = at_once([lambda each=each: each.register("a", bar(OPEN)) for each in clients])  # type: ignore[misc]  # bound early
    assert len(set(same)) == 1
    others = at_once(
        [
            lambda each=each, number=number: each.register("a", bar(OPEN, name=f"B{number}"))  # type: ignore[misc]  # bound early
            for number, each in enumerate(clients)
        ]
    )
    assert sorted(one.version for one in others) == list(range(2, 10))
    assert sorted(one.id for one in others) == list(range(2, 10))


def test_a_registration_that_fails_leaves_nothing() -> None:
    registry = SchemaRegistryClient()
    registry.register("a", bar(OPEN))
    with pytest.raises(IncompatibleSchemaError):
        registry.register("a", '"string"')
    assert (registry.versions("a"), registry.register("b", '"string"').id) == ((1,), 2)


def test_a_reference_that_changes_its_meaning_gives_another_id() -> None:
    # Version 1 of `a` is deleted for good with all that refers to it, and registered anew.
    registry = SchemaRegistryClient()
    user = Schema(bar({"name": "f", "type": "A"}), references=(Reference("A", "a", 1),))
    registry.register("a", bar(OPEN, name="A"))
    before = registry.register("b", user)
    for subject in ("b", "a"):
        registry.delete_subject(subject)
        registry.delete_subject(subject, permanent=True)
    registry.register("a", bar(VOLUME, name="A"))
    after = registry.register("b", user)
    assert after.schema == before.schema
    assert after.id != before.id


def test_an_error_tells_what_why_and_what_next() -> None:
    registry = SchemaRegistryClient()
    registry.register("a", bar(OPEN))
    with pytest.raises(IncompatibleSchemaError) as error:
        registry.register("a", bar(OPEN, VOLUME))
    reported = str(error.value)
    assert "incompatible with version 1 of 'a' under BACKWARD" in reported
    assert "volume" in (error.value.why or "")
    assert error.value.next_step
    again = pickle.loads(pickle.dumps(error.value))
    assert (str(again), again.comparisons, again.status) == (reported, error.value.comparisons, 409)


@pytest.mark.parametrize("text", ["{", '"Missing"', "[" * 10_000, "x" * 2_000_000])
def test_a_schema_that_cannot_be_read_is_one_error_of_ours(text: str) -> None:
    for kind in SchemaType:
        with pytest.raises(QmtlError) as error:
            SchemaRegistryClient().register("a", Schema(text, kind))
        assert error.value.why


def test_the_settings_say_which_registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("QMTL_SCHEMA_REGISTRY_URL", raising=False)
    for registry in (
        SchemaRegistryClient.from_settings(),
        SchemaRegistryClient.from_settings(Settings.load(env={})),
    ):
        assert isinstance(registry, SchemaRegistryClient)
        assert registry.subjects() == ()
