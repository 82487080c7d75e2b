"""Levels and modes: of one subject, or of the whole registry where the subject is None."""

from __future__ import annotations

from qmtl.foundation.schema.compatibility.levels import Level
from qmtl.foundation.schema.registry import registry_errors
from qmtl.foundation.schema.registry.contract import Mode
from qmtl.foundation.schema.registry.storage import RegistryView

DEFAULT_LEVEL = Level.BACKWARD
DEFAULT_MODE = Mode.READWRITE

# Under this subject a setting holds for the whole registry. No subject has an empty name.
EVERYWHERE = ""


def level_in_force(view: RegistryView, subject: str) -> Level:
    return own_level(view, subject) or own_level(view, EVERYWHERE) or DEFAULT_LEVEL


def mode_in_force(view: RegistryView, subject: str) -> Mode:
    return own_mode(view, subject) or own_mode(view, EVERYWHERE) or DEFAULT_MODE


def own_level(view: RegistryView, subject: str) -> Level | None:
    value = view.setting("level", subject)
    return None if value is None else Level(value)


def own_mode(view: RegistryView, subject: str) -> Mode | None:
    value = view.setting("mode", subject)
    return None if value is None else Mode(value)


def level(view: RegistryView, subject: str | None, *, or_global: bool) -> Level:
    own = own_level(view, subject or EVERYWHERE)
    if own is None and subject is not None and not or_global:
        raise registry_errors.no_level_of_its_own(subject)
    return own or level_in_force(view, EVERYWHERE)


def mode(view: RegistryView, subject: str | None, *, or_global: bool) -> Mode:
    own = own_mode(view, subject or EVERYWHERE)
    if own is None and subject is not None and not or_global:
        raise registry_errors.no_mode_of_its_own(subject)
    return own or mode_in_force(view, EVERYWHERE)


def set_level(view: RegistryView, name: Level | str, subject: str | None) -> Level:
    try:
        chosen = Level(name.upper())
    except ValueError:
        raise registry_errors.invalid_level(name) from None
    refuse_readonly(view, subject)
    view.put_setting("level", subject or EVERYWHERE, chosen.value)
    return chosen


def clear_level(view: RegistryView, subject: str | None) -> Level:
    own = own_level(view, subject or EVERYWHERE)
    if own is None and subject is not None:
        raise registry_errors.subject_not_found(subject)
    refuse_readonly(view, subject)
    view.put_setting("level", subject or EVERYWHERE, None)
    return own or DEFAULT_LEVEL


def refuse_readonly(view: RegistryView, subject: str | None) -> None:
    if mode_in_force(view, subject or EVERYWHERE) is Mode.READONLY:
        whose = "the registry" if subject is None else f"the subject {subject!r}"
        raise registry_errors.not_permitted(f"{whose} cannot be changed", "its mode is READONLY")
