"""Finding subjects, versions and schemas among the rows, and the errors for what is not there."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from qmtl.foundation.schema.canonical_form import forms
from qmtl.foundation.schema.documents import Document, Reference, Schema
from qmtl.foundation.schema.registry import reading, registry_errors
from qmtl.foundation.schema.registry.contract import Registered, Version
from qmtl.foundation.schema.registry.storage import RegistryView, SchemaRow, VersionRow

MAX_NUMBER = 2**31 - 1
MAX_SUBJECT_BYTES = 255


def checked_subject(subject: str) -> str:
    """The name itself; 42208 where no subject can have it."""
    if not subject:
        raise registry_errors.invalid_subject(subject, "it is empty")
    if any(unicodedata.category(each) in ("Cc", "Cs") for each in subject):
        raise registry_errors.invalid_subject(
            subject, "it holds control characters, or half of a surrogate pair"
        )
    if len(subject.encode()) > MAX_SUBJECT_BYTES:
        raise registry_errors.invalid_subject(subject, f"it has more than {MAX_SUBJECT_BYTES} bytes of UTF-8")
    return subject


def checked_version(version: Version) -> Version:
    """The version itself; 42202 where it can be none."""
    if version == "latest" or (type(version) is int and 1 <= version <= MAX_NUMBER):
        return version
    raise registry_errors.invalid_version(version)


def of_subject(view: RegistryView, subject: str, *, deleted: bool) -> Sequence[VersionRow]:
    """The versions of a subject, at least one; 40401 without."""
    rows = [row for row in view.versions(subject) if deleted or not row.deleted]
    if not rows:
        raise registry_errors.subject_not_found(subject)
    return rows


def find(view: RegistryView, subject: str, version: Version, *, deleted: bool) -> VersionRow:
    """One version; 40401 without the subject, 40402 without the version."""
    if version == "latest":
        latest = view.latest(subject, deleted=deleted)
        if latest is None:
            raise registry_errors.subject_not_found(subject)
        return latest
    rows = of_subject(view, subject, deleted=deleted)
    found = next((row for row in rows if row.version == version), None)
    if found is None:
        raise registry_errors.version_not_found(subject, version)
    return found


def registered(view: RegistryView, row: VersionRow) -> Registered:
    return Registered(row.subject, row.version, row.id, schema_of(view, row.id))


def schema_of(view: RegistryView, id: int) -> Schema:
    found = view.schema(id)
    if found is None:
        raise registry_errors.schema_not_found(f"with the id {id}")
    return found.schema


def same(
    view: RegistryView, subject: str, schema: Schema, *, normalize: bool, deleted: bool
) -> VersionRow | None:
    """The newest version of the subject that has this schema."""
    if not normalize:
        found = [
            row
            for known in known_as(view, schema)
            for row in view.versions_of(subject, known.id)
            if deleted or not row.deleted
        ]
        return max(found, key=lambda row: row.version, default=None)
    rows = [row for row in reversed(view.versions(subject)) if deleted or not row.deleted]
    wanted = forms.normal(schema)
    return next((row for row in rows if forms.normal(schema_of(view, row.id)) == wanted), None)


def known_as(view: RegistryView, schema: Schema) -> list[SchemaRow]:
    """The rows that are this schema, the one whose id a new version gets first."""
    return [row for each in forms.identities(schema) for row in view.schemas_of(each)]


def new_document(view: RegistryView, schema: Schema) -> Document:
    """A schema that was sent, with all that it refers to; it may not refer to what is softly deleted."""

    def find_schema(reference: Reference) -> Schema:
        return _referred(view, reference, deleted=reference not in schema.references)

    return reading.read(schema, find_schema)


def sent_document(view: RegistryView, schema: Schema) -> Document:
    """As `new_document`, of a schema that is looked for: it may refer to what is softly deleted."""
    return reading.read(schema, lambda reference: _referred(view, reference, deleted=True))


def registered_document(view: RegistryView, id: int) -> Document:
    """A schema that is registered, with all that it refers to."""
    return reading.read_registered(
        schema_of(view, id), lambda reference: _referred(view, reference, deleted=True)
    )


def _referred(view: RegistryView, reference: Reference, *, deleted: bool) -> Schema:
    row = find(view, reference.subject, checked_version(reference.version), deleted=deleted)
    return schema_of(view, row.id)
