"""Changing what may be changed."""

from __future__ import annotations

from qmtl.foundation.schema import refusals
from qmtl.foundation.schema.configuration import DEFAULT_MODE, EVERYWHERE, mode_in_force, own_mode
from qmtl.foundation.schema.deletion import make_room
from qmtl.foundation.schema.registry import Mode
from qmtl.foundation.schema.storage import RegistryView


def set_mode(view: RegistryView, word: Mode | str, subject: str | None, *, force: bool) -> Mode:
    try:
        chosen = Mode(word.upper())
    except ValueError:
        raise refusals.invalid_mode(word, Mode) from None
    before = mode_in_force(view, subject or EVERYWHERE)
    if chosen is Mode.IMPORT and before is not Mode.IMPORT and not force:
        make_room(view, subject)
    view.put_setting("mode", subject or EVERYWHERE, chosen.value)
    return chosen


def clear_mode(view: RegistryView, subject: str | None) -> Mode:
    held = own_mode(view, subject or EVERYWHERE)
    if held is None and subject is not None:
        raise refusals.subject_not_found(subject)
    view.put_setting("mode", subject or EVERYWHERE, None)
    return held or DEFAULT_MODE
