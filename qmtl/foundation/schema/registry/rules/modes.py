"""Changing what may be changed."""

from __future__ import annotations

from qmtl.foundation.schema.registry import registry_errors
from qmtl.foundation.schema.registry.contract import Mode
from qmtl.foundation.schema.registry.rules.configuration import (
    DEFAULT_MODE,
    EVERYWHERE,
    mode_in_force,
    own_mode,
)
from qmtl.foundation.schema.registry.rules.deletion import make_room
from qmtl.foundation.schema.registry.storage import RegistryView


def set_mode(view: RegistryView, name: Mode | str, subject: str | None, *, force: bool) -> Mode:
    try:
        chosen = Mode(name.upper())
    except ValueError:
        raise registry_errors.invalid_mode(name, Mode) from None
    before = mode_in_force(view, subject or EVERYWHERE)
    if chosen is Mode.IMPORT and before is not Mode.IMPORT and not force:
        make_room(view, subject)
    view.put_setting("mode", subject or EVERYWHERE, chosen.value)
    return chosen


def clear_mode(view: RegistryView, subject: str | None) -> Mode:
    own = own_mode(view, subject or EVERYWHERE)
    if own is None and subject is not None:
        raise registry_errors.subject_not_found(subject)
    view.put_setting("mode", subject or EVERYWHERE, None)
    return own or DEFAULT_MODE
