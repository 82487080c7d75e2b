"""A registry so plain that it must be right, and a machine that holds any other registry against it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from qmtl.foundation.errors import SchemaRegistryError
from qmtl.foundation.schema.documents import Reference, Schema
from qmtl.foundation.schema.registry.contract import SchemaRegistry

SUBJECTS = ("a", "b", "c/d")
WORDS = ("int", "long", "string")


class Refusal(Exception):
    """The code with which a registry must refuse."""


class Entry(NamedTuple):
    """One version of one subject."""

    subject: str
    version: int
    id: int
    schema: Schema
    deleted: bool


class ModelRegistry:
    """What a registry at level NONE should do: a list of all versions, searched from end to end."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.last_id = 0
        self.modes: dict[str, str] = {}

    def of(self, subject: str, *, deleted: bool = False) -> list[Entry]:
        found = [one for one in self.entries if one.subject == subject and (deleted or not one.deleted)]
        return sorted(found, key=lambda one: one.version)

    def register(self, subject: str, schema: Schema) -> Entry:
        for one in reversed(self.of(subject)):
            if one.schema == schema:
                return one
        for _, other, version in schema.references:
            if not any(one.version == version for one in self.of(other)):
                raise Refusal(42201)
        self._refuse_readonly(subject)
        id = next((one.id for one in self.entries if one.schema == schema), self.last_id + 1)
        number = max((one.version for one in self.of(subject, deleted=True)), default=0) + 1
        self.entries.append(Entry(subject, number, id, schema, False))
        self.last_id = max(self.last_id, id)
        return self.entries[-1]

    def lookup(self, subject: str, schema: Schema, deleted: bool) -> Entry:
        among = self.of(subject, deleted=deleted)
        found = [one for one in among if one.schema == schema]
        if found:
            return found[-1]
        for _, other, version in schema.references:
            if not any(one.version == version for one in self.of(other, deleted=True)):
                raise Refusal(42201)
        raise Refusal(40403 if among else 40401)

    def version(self, subject: str, version: int | str, deleted: bool) -> Entry:
        among = self.of(subject, deleted=deleted)
        if not among:
            raise Refusal(40401)
        found = among if version == "latest" else [one for one in among if one.version == version]
        if not found:
            raise Refusal(40402)
        return found[-1]

    def delete_version(self, subject: str, version: int, permanent: bool) -> int:
        one = self.version(subject, version, True)
        self._refuse_readonly(subject)
        if one.deleted != permanent:
            raise Refusal(40407 if permanent else 40406)
        self._delete([one], permanent)
        if not self.of(subject):
            self.modes.pop(subject, None)
        return one.version

    def delete_subject(self, subject: str, permanent: bool) -> tuple[int, ...]:
        there = self.of(subject, deleted=True)
        alive = self.of(subject)
        if not there:
            raise Refusal(40401)
        self._refuse_readonly(subject)
        if bool(alive) == permanent:
            raise Refusal(40405 if permanent else 40404)
        going = there if permanent else alive
        self._delete(going, permanent)
        self.modes.pop(subject, None)
        return tuple(one.version for one in going)

    def referrers(self, target: Entry) -> list[Entry]:
        return [
            one
            for one in self.entries
            if any(each[1:] == (target.subject, target.version) for each in one.schema.references)
        ]

    def _delete(self, going: list[Entry], permanent: bool) -> None:
        for target in going:
            if any(one not in going and (permanent or not one.deleted) for one in self.referrers(target)):
                raise Refusal(42206)
        self.entries = [one for one in self.entries if one not in going]
        if not permanent:
            self.entries += [one._replace(deleted=True) for one in going]

    def _refuse_readonly(self, subject: str) -> None:
        if self.modes.get(subject, self.modes.get("", "READWRITE")) == "READONLY":
            raise Refusal(42205)


def outcome(call: Callable[[], Any]) -> Any:
    """What a call gives, or the code with which it refuses."""
    try:
        return call()
    except Refusal as refusal:
        return refusal.args[0]
    except SchemaRegistryError as error:
        return error.code


subjects = st.sampled_from(SUBJECTS)
versions = st.integers(1, 4)
schemas = st.one_of(
    st.sampled_from([Schema(f'"{word}"') for word in WORDS]),
    st.builds(
        lambda word, subject, version: Schema(f'"{word}"', references=(Reference("R", subject, version),)),
        st.sampled_from(WORDS),
        subjects,
        versions,
    ),
)


class RegistryMachine(RuleBasedStateMachine):
    """Registers, looks up, deletes and changes modes in any order, against `ModelRegistry`.

    An implementation inherits it and says how an empty registry is opened; `reopen` may be overridden where a
    registry can be closed and opened again.
    """

    registry: SchemaRegistry

    @abstractmethod
    def open(self) -> SchemaRegistry:
        """A client of an empty registry."""

    def reopen(self) -> SchemaRegistry:
        """The same registry, closed and opened again."""
        return self.registry

    @initialize()
    def begin(self) -> None:
        self.registry = self.open()
        self.registry.set_level("NONE")
        self.model = ModelRegistry()

    def _same(self, real: Callable[[], Any], model: Callable[[], Any]) -> None:
        actual, expected = outcome(real), outcome(model)
        if isinstance(expected, Entry):
            assert actual == (*expected[:4], False), (actual, expected)
        else:
            assert actual == expected, (actual, expected)

    @rule(subject=subjects, schema=schemas)
    def register(self, subject: str, schema: Schema) -> None:
        self._same(
            lambda: self.registry.register(subject, schema), lambda: self.model.register(subject, schema)
        )

    @rule(subject=subjects, schema=schemas, deleted=st.booleans())
    def lookup(self, subject: str, schema: Schema, deleted: bool) -> None:
        self._same(
            lambda: self.registry.lookup(subject, schema, deleted=deleted),
            lambda: self.model.lookup(subject, schema, deleted),
        )

    @rule(subject=subjects, version=st.one_of(versions, st.just("latest")), deleted=st.booleans())
    def version(self, subject: str, version: Any, deleted: bool) -> None:
        self._same(
            lambda: self.registry.version(subject, version, deleted=deleted),
            lambda: self.model.version(subject, version, deleted),
        )

    @rule(subject=subjects, version=versions, permanent=st.booleans())
    def delete_version(self, subject: str, version: int, permanent: bool) -> None:
        self._same(
            lambda: self.registry.delete_version(subject, version, permanent=permanent),
            lambda: self.model.delete_version(subject, version, permanent),
        )

    @rule(subject=subjects, permanent=st.booleans())
    def delete_subject(self, subject: str, permanent: bool) -> None:
        self._same(
            lambda: self.registry.delete_subject(subject, permanent=permanent),
            lambda: self.model.delete_subject(subject, permanent),
        )

    @rule(subject=st.sampled_from((None, *SUBJECTS)), mode=st.sampled_from(["READONLY", "READWRITE"]))
    def set_mode(self, subject: str | None, mode: str) -> None:
        self.registry.set_mode(mode, subject)
        self.model.modes[subject or ""] = mode

    @rule()
    def close_and_open(self) -> None:
        self.registry = self.reopen()

    @invariant()
    def all_is_there(self) -> None:
        if not hasattr(self, "model"):
            return
        there = self.model.entries
        for deleted in (False, True):
            found = sorted({one.subject for one in there if deleted or not one.deleted})
            assert self.registry.subjects(deleted=deleted) == tuple(found)
        for one in there:
            numbers = tuple(each.version for each in self.model.of(one.subject, deleted=True))
            assert self.registry.versions(one.subject, deleted=True) == numbers
            assert self.registry.by_id(one.id) == one.schema
            used = sorted((each.subject, each.version) for each in there if each.id == one.id)
            assert self.registry.usages(one.id, deleted=True) == tuple(used)
            alive = sorted({each.id for each in self.model.referrers(one) if not each.deleted})
            assert self.registry.referenced_by(one.subject, one.version) == tuple(alive)
