"""The registry in this process: the rules of a registry, over rows in any storage."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from qmtl.foundation.schema.canonical_form import forms
from qmtl.foundation.schema.compatibility.levels import Comparison, Level
from qmtl.foundation.schema.documents import Schema
from qmtl.foundation.schema.registry import reading, registry_errors
from qmtl.foundation.schema.registry.contract import Mode, Registered, SchemaRegistry, Usage, Version
from qmtl.foundation.schema.registry.memory_storage import MemoryStorage
from qmtl.foundation.schema.registry.records import RegistryRecords
from qmtl.foundation.schema.registry.rules import (
    configuration,
    deletion,
    modes,
    registration,
    tombstones,
    versions,
)
from qmtl.foundation.schema.registry.rules.versions import checked_subject, checked_version
from qmtl.foundation.schema.registry.storage import RegistryStorage

if TYPE_CHECKING:
    from qmtl.foundation.settings import Settings

_REMOTE = "qmtl.foundation.schema.registry.remote"

# Schemas that are answered from memory by their id.
_REMEMBERED = 10_000


class SchemaRegistryClient:
    """A `SchemaRegistry` in this process; its methods are documented there.

    storage: where rows are kept; in memory without one. Safe to use from any thread.
    """

    def __init__(self, storage: RegistryStorage | None = None) -> None:
        self.storage: RegistryStorage = MemoryStorage() if storage is None else storage
        self._by_id: dict[int, Schema] = {}

    @staticmethod
    def from_settings(settings: Settings | None = None) -> SchemaRegistry:
        """The registry at `connectors.schema_registry_url`, or without one an empty one in this process.

        settings: those of `Settings.load()`, where none are given.
        """
        from qmtl.foundation.settings import Settings

        connectors = (settings or Settings.load()).connectors
        url = connectors.schema_registry_url
        if url is None:
            return SchemaRegistryClient()
        remote: SchemaRegistry = import_module(_REMOTE).RemoteSchemaRegistryClient(
            url, auth=connectors.schema_registry_auth
        )
        return remote

    def records(self) -> RegistryRecords:
        return RegistryRecords(self.storage)

    def close(self) -> None:
        self.storage.close()

    # Schemas

    def register(
        self,
        subject: str,
        schema: Schema | str,
        *,
        normalize: bool = False,
        version: int | None = None,
        id: int | None = None,
    ) -> Registered:
        checked_subject(subject)
        for number in (version, id):
            if number is not None and checked_version(number) == "latest":
                raise registry_errors.invalid_version(number)
        wanted = _stored(schema, normalize=normalize)
        # Most registrations are of what is there, and wait for no other writer.
        with self.storage.reading() as view:
            row = versions.same(view, subject, wanted, normalize=normalize, deleted=False)
            if row is not None and version in (None, row.version) and id in (None, row.id):
                return versions.registered(view, row)
            # Refused before a writer waits, and known afterwards.
            versions.new_document(view, wanted)
        with self.storage.writing() as view:
            row = versions.same(view, subject, wanted, normalize=normalize, deleted=False)
            if row is not None and version in (None, row.version) and id in (None, row.id):
                return versions.registered(view, row)
            return registration.register(view, subject, wanted, version=version, id=id)

    def lookup(
        self, subject: str, schema: Schema | str, *, normalize: bool = False, deleted: bool = False
    ) -> Registered:
        wanted = _stored(schema, normalize=normalize)
        checked_subject(subject)
        with self.storage.reading() as view:
            row = versions.same(view, subject, wanted, normalize=normalize, deleted=deleted)
            if row is None:
                # That it is no schema says more than that it is not there.
                versions.sent_document(view, wanted)
                versions.of_subject(view, subject, deleted=deleted)
                raise registry_errors.schema_not_found(f"like this under {subject!r}")
            return versions.registered(view, row)

    def by_id(self, id: int, *, subject: str | None = None) -> Schema:
        known = self._by_id.get(id)
        if known is not None:
            return known
        if subject is not None:
            checked_subject(subject)
        with self.storage.reading() as view:
            found = versions.schema_of(view, id)
        if len(self._by_id) >= _REMEMBERED:
            self._by_id.clear()
        self._by_id[id] = found
        return found

    def version(self, subject: str, version: Version, *, deleted: bool = False) -> Registered:
        checked_version(version)
        with self.storage.reading() as view:
            row = versions.find(view, checked_subject(subject), version, deleted=deleted)
            return versions.registered(view, row if deleted else tombstones.passed(view, row, version))

    # Listings

    def subjects(
        self, *, prefix: str = "", deleted: bool = False, deleted_only: bool = False
    ) -> tuple[str, ...]:
        with self.storage.reading() as view:
            return tuple(
                subject
                for subject, gone in view.subjects(prefix)
                if (gone if deleted_only else deleted or not gone)
            )

    def versions(self, subject: str, *, deleted: bool = False, deleted_only: bool = False) -> tuple[int, ...]:
        with self.storage.reading() as view:
            rows = versions.of_subject(view, checked_subject(subject), deleted=deleted or deleted_only)
        return tuple(row.version for row in rows if row.deleted or not deleted_only)

    def usages(self, id: int, *, deleted: bool = False) -> tuple[Usage, ...]:
        with self.storage.reading() as view:
            versions.schema_of(view, id)
            return tuple(
                Usage(row.subject, row.version) for row in view.usages(id) if deleted or not row.deleted
            )

    def referenced_by(self, subject: str, version: Version) -> tuple[int, ...]:
        checked_version(version)
        with self.storage.reading() as view:
            row = versions.find(view, checked_subject(subject), version, deleted=True)
            return tuple(
                id
                for id in view.referrers(row.subject, row.version)
                if not all(user.deleted for user in view.usages(id))
            )

    # Deletion

    def delete_subject(self, subject: str, *, permanent: bool = False) -> tuple[int, ...]:
        with self.storage.writing() as view:
            gone = deletion.delete_subject(view, checked_subject(subject), permanent=permanent)
        self._by_id.clear()
        return gone

    def delete_version(self, subject: str, version: Version, *, permanent: bool = False) -> int:
        checked_version(version)
        with self.storage.writing() as view:
            gone = deletion.delete_version(view, checked_subject(subject), version, permanent=permanent)
        self._by_id.clear()
        return gone

    # Compatibility

    def check(
        self, subject: str, schema: Schema | str, *, version: Version | None = None, normalize: bool = False
    ) -> tuple[Comparison, ...]:
        checked_subject(subject)
        if version is not None:
            checked_version(version)
        wanted = _stored(schema, normalize=normalize)
        with self.storage.reading() as view:
            document = versions.new_document(view, wanted)
            return registration.compare(view, subject, document, version=version)

    def level(self, subject: str | None = None, *, or_global: bool = False) -> Level:
        with self.storage.reading() as view:
            return configuration.level(view, _checked(subject), or_global=or_global)

    def set_level(self, level: Level | str, subject: str | None = None) -> Level:
        with self.storage.writing() as view:
            return configuration.set_level(view, level, _checked(subject))

    def clear_level(self, subject: str | None = None) -> Level:
        with self.storage.writing() as view:
            return configuration.clear_level(view, _checked(subject))

    # Modes

    def mode(self, subject: str | None = None, *, or_global: bool = False) -> Mode:
        with self.storage.reading() as view:
            return configuration.mode(view, _checked(subject), or_global=or_global)

    def set_mode(self, mode: Mode | str, subject: str | None = None, *, force: bool = False) -> Mode:
        with self.storage.writing() as view:
            chosen = modes.set_mode(view, mode, _checked(subject), force=force)
        self._by_id.clear()
        return chosen

    def clear_mode(self, subject: str | None = None) -> Mode:
        with self.storage.writing() as view:
            return modes.clear_mode(view, _checked(subject))


def _checked(subject: str | None) -> str | None:
    return None if subject is None else checked_subject(subject)


def _stored(schema: Schema | str, *, normalize: bool) -> Schema:
    given = Schema(schema) if isinstance(schema, str) else schema
    reading.refuse_size(given.text)
    try:
        return forms.normal(given) if normalize else forms.stored(given)
    except ValueError as error:
        raise registry_errors.invalid_schema(str(error)) from error
