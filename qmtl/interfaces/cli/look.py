"""`qmtl import FILE --look`, and the look that stands below every refusal of an import."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import typer

from qmtl.interfaces.cli.wording import in_words_of

if TYPE_CHECKING:
    from qmtl.foundation.errors import QmtlError
    from qmtl.interfaces.cli.session import Session
    from qmtl.runtime.io.bar_files import ReadingOptions


def show_look(
    session: Session, file: Path, series: str | None, declared: Mapping[str, Any], reading: ReadingOptions
) -> None:
    """What the file holds and how it can be read; nothing is imported. Exits with 2 if no way is found.

    declared: `calendar` and `anchor`; reading: the options that were given of how it is written.
    """
    from qmtl.runtime.io.bar_files.look import look_at, text_of

    look = look_at(file, series=series, **declared, **_given(reading))
    session.show(in_words_of(session.options, text_of(look)))
    session.emit(look.to_json())
    if not look.readings:
        raise typer.Exit(2)


def add_look(
    session: Session,
    error: QmtlError,
    file: Path,
    series: str | None,
    declared: Mapping[str, Any],
    reading: ReadingOptions,
) -> None:
    """Put a short look below an error of an import, if there is something to look at.

    What no file says of itself stays as it was given, and the line that was refused is not proposed again.
    """
    from qmtl.runtime.io.bar_files.look import look_below, short_text_of

    failed = _failed_file(error, file)
    look = look_below(failed or file, series=series, **declared, given=_given(reading))
    if look is not None and failed is not None and look.readings:
        alone = f"the line is for {failed} alone, which was refused; the other files may be written otherwise"
        look = replace(look, cautions=(*look.cautions, alone))
    if look is not None:  # else the file cannot be looked at, which the error says already
        error.add_note(in_words_of(session.options, short_text_of(look)))


def _failed_file(error: QmtlError, file: Path) -> Path | None:
    """Of a folder or a pattern of files, the first that was refused; None if that is none of them alone."""
    from qmtl.foundation.errors import ConformancePipelineError, InvalidRequestError

    if isinstance(error, InvalidRequestError):
        return None if error.file is None else Path(error.file)
    if not isinstance(error, ConformancePipelineError) or error.report is None:
        return None
    names = {
        name
        for finding in error.report.findings
        if finding.severity == "error" and "file" in finding.sample.columns
        for name in finding.sample["file"].cast(str).to_list()
    }
    # Rows that disagree stand in several files, and none of these is at fault by itself.
    only = Path(names.pop()) if len(names) == 1 else None
    return only if only is not None and only.is_file() else None


def _given(reading: ReadingOptions) -> ReadingOptions:
    """Options that were given; a label is "open" whether it was given or not."""
    given = {name: value for name, value in reading.items() if value not in (None, "", 0, [], "open")}
    return cast("ReadingOptions", given)
