"""Whether a schema may become a version of a subject, and what it is compared with."""

from __future__ import annotations

from collections.abc import Sequence

from qmtl.foundation.schema.canonical_form import forms
from qmtl.foundation.schema.compatibility.levels import Comparison, Earlier, Level, compare_versions
from qmtl.foundation.schema.documents import Document, Schema
from qmtl.foundation.schema.registry import registry_errors
from qmtl.foundation.schema.registry.contract import Mode, Registered, Version
from qmtl.foundation.schema.registry.rules import versions
from qmtl.foundation.schema.registry.rules.configuration import level_in_force, mode_in_force
from qmtl.foundation.schema.registry.storage import RegistryView, SchemaRow, VersionRow


def register(
    view: RegistryView, subject: str, schema: Schema, *, version: int | None, id: int | None
) -> Registered:
    """A new version, within a transaction that writes. `schema` is not a version of the subject yet."""
    given = version is not None or id is not None
    _refuse_mode(subject, mode_in_force(view, subject), given=given)
    document = versions.new_document(view, schema)
    if not given:
        _refuse_incompatible(view, subject, document)
    row = VersionRow(subject, _number(view, subject, version), _id(view, schema, id))
    view.put_version(row)
    return versions.registered(view, row)


def compare(
    view: RegistryView, subject: str, document: Document, *, version: Version | None
) -> tuple[Comparison, ...]:
    """The comparisons of a schema with the versions of a subject (`SchemaRegistry.check`)."""
    level = level_in_force(view, subject)
    rows = _compared(view, subject, level, version)
    earlier = (
        [Earlier(row.version, versions.registered_document(view, row.id)) for row in rows]
        if level.directions
        else []
    )
    return compare_versions(document, earlier, level)


def _compared(
    view: RegistryView, subject: str, level: Level, version: Version | None
) -> Sequence[VersionRow]:
    """Reading costs: a subject of thousands of versions is asked only for those that the level looks at."""
    if version is not None and version != "latest":
        return [versions.find(view, subject, version, deleted=False)]
    if version is None and level.is_transitive:
        return [row for row in view.versions(subject) if not row.deleted]
    latest = view.latest(subject, deleted=False)
    return [] if latest is None else [latest]


def _refuse_mode(subject: str, mode: Mode, *, given: bool) -> None:
    what = f"nothing can be registered under {subject!r}"
    if mode is Mode.READONLY:
        raise registry_errors.not_permitted(what, "its mode is READONLY")
    if given and mode is not Mode.IMPORT:
        raise registry_errors.not_permitted(
            what, f"a version or an id is given, and its mode is {mode}, not IMPORT"
        )
    if not given and mode is Mode.IMPORT:
        raise registry_errors.not_permitted(
            what, "its mode is IMPORT, and neither a version nor an id is given"
        )


def _refuse_incompatible(view: RegistryView, subject: str, document: Document) -> None:
    comparisons = compare(view, subject, document, version=None)
    if not all(one.verdict.is_compatible for one in comparisons):
        raise registry_errors.incompatible(subject, level_in_force(view, subject), comparisons)


def _number(view: RegistryView, subject: str, given: int | None) -> int:
    """The next number: softly deleted versions have theirs still."""
    if given is None:
        latest = view.latest(subject, deleted=True)
        return 1 if latest is None else latest.version + 1
    if any(row.version == given for row in view.versions(subject)):
        raise registry_errors.not_permitted(
            f"nothing can be registered as version {given} of {subject!r}", "another schema is that version"
        )
    return given


def _id(view: RegistryView, schema: Schema, given: int | None) -> int:
    """The id of this content, for which a row is added where it is new."""
    known = [row.id for row in versions.known_as(view, schema)]
    if known:
        if given is not None and given not in known:
            raise registry_errors.id_does_not_match(given, known[0])
        return known[0] if given is None else given
    if given is not None and view.schema(given) is not None:
        raise registry_errors.not_permitted(
            f"the schema cannot have the id {given}", "it stands for another schema"
        )
    id = view.last_id() + 1 if given is None else given
    view.add_schema(SchemaRow(id, forms.identity(schema), schema))
    return id
