"""`qmtl import FILE --look`, and the look that stands below every refusal of an import."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qmtl.interfaces.cli.wording import in_words_of

if TYPE_CHECKING:
    from qmtl.foundation.errors import QmtlError
    from qmtl.interfaces.cli.session import Session


# What no file can tell of itself: it stays said when the rest is looked for anew.
_BEYOND_THE_FILE = ("tz", "label", "scale", "table")


def show_look(
    session: Session, file: Path, series: str | None, declared: Mapping[str, Any], reading: Mapping[str, Any]
) -> None:
    """What the file holds and how it can be read; nothing is imported.

    declared: `calendar` and `anchor`; reading: the options that were given of how it is written.
    """
    from qmtl.runtime.io.bar_files.look import look_at, text_of

    look = look_at(file, series=series, **declared, **_said(reading))
    session.show(in_words_of(session.options, text_of(look)))
    session.emit(look.to_json())


def add_look(
    session: Session,
    error: QmtlError,
    file: Path,
    series: str | None,
    declared: Mapping[str, Any],
    reading: Mapping[str, Any],
) -> None:
    """Put a short look below an error of an import, if there is something to look at.

    What was said of how it is written is not believed, for it may be the fault.
    """
    from qmtl.foundation.errors import InvalidRequestError
    from qmtl.runtime.io.bar_files.look import look_at, short_text_of

    kept = {name: value for name, value in _said(reading).items() if name in _BEYOND_THE_FILE}
    try:
        look = look_at(file, series=series, **declared, **kept)
        if not look.readings and (kept or any(declared.values())):
            look = look_at(file, series=series)
    except InvalidRequestError:  # the file cannot be looked at, which the error says already
        return
    error.add_note(in_words_of(session.options, short_text_of(look)))


def _said(reading: Mapping[str, Any]) -> dict[str, Any]:
    """Options that were given; a label is "open" whether it was said or not."""
    return {name: value for name, value in reading.items() if value not in (None, "", 0, [], "open")}
