"""Soft deletion, which can be looked through, and the permanent one, which needs it first."""

from __future__ import annotations

from collections.abc import Sequence

from qmtl.foundation.schema.registry import registry_errors
from qmtl.foundation.schema.registry.contract import Version
from qmtl.foundation.schema.registry.rules import versions
from qmtl.foundation.schema.registry.rules.configuration import refuse_readonly
from qmtl.foundation.schema.registry.storage import RegistryView, VersionRow


def delete_subject(view: RegistryView, subject: str, *, permanent: bool) -> tuple[int, ...]:
    rows = versions.of_subject(view, subject, deleted=True)
    refuse_readonly(view, subject)
    alive = [row for row in rows if not row.deleted]
    if permanent and alive:
        raise registry_errors.subject_not_deleted_first(subject)
    if not permanent and not alive:
        raise registry_errors.subject_already_deleted(subject)
    going = rows if permanent else alive
    _refuse_referred(view, going, permanent=permanent)
    for row in going:
        _delete(view, row, permanent=permanent)
    _forget_settings(view, subject)
    return tuple(row.version for row in going)


def delete_version(view: RegistryView, subject: str, version: Version, *, permanent: bool) -> int:
    row = versions.find(view, subject, version, deleted=True)
    if version == "latest" and not permanent:
        row = versions.find(view, subject, version, deleted=False)
    refuse_readonly(view, subject)
    if permanent and not row.deleted:
        raise registry_errors.version_not_deleted_first(subject, row.version)
    if not permanent and row.deleted:
        raise registry_errors.version_already_deleted(subject, row.version)
    _refuse_referred(view, [row], permanent=permanent)
    _delete(view, row, permanent=permanent)
    if all(one.deleted for one in view.versions(subject)):
        _forget_settings(view, subject)
    return row.version


def _forget_settings(view: RegistryView, subject: str) -> None:
    """What was decided of its versions does not hold for a later subject of the same name."""
    view.put_setting("level", subject, None)
    view.put_setting("mode", subject, None)


def make_room(view: RegistryView, subject: str | None) -> None:
    """Lets only an empty subject (or registry) pass; softly deleted versions go for good.

    So their numbers and ids can be given again by an import.
    """
    subjects = [name for name, _ in view.subjects()] if subject is None else [subject]
    rows = [row for name in subjects for row in view.versions(name)]
    alive = next((row for row in rows if not row.deleted), None)
    if alive is not None:
        raise registry_errors.not_permitted(
            "the mode IMPORT needs an empty place", f"version {alive.version} of {alive.subject!r} is there"
        )
    _refuse_referred(view, rows, permanent=True)
    for row in rows:
        _delete(view, row, permanent=True)


def _refuse_referred(view: RegistryView, going: Sequence[VersionRow], *, permanent: bool) -> None:
    """Refuse to delete what other schemas refer to.

    A softly deleted schema must stay readable, so what it refers to may be deleted softly, not permanently.
    """
    for row in going:
        ids = [
            id
            for id in view.referrers(row.subject, row.version)
            if any(user not in going for user in view.usages(id) if permanent or not user.deleted)
        ]
        if ids:
            raise registry_errors.still_referred_to(row.subject, row.version, ids)


def _delete(view: RegistryView, row: VersionRow, *, permanent: bool) -> None:
    if not permanent:
        view.put_version(row._replace(deleted=True))
        return
    view.remove_version(row.subject, row.version)
    if not view.usages(row.id):
        view.remove_schema(row.id)
