"""Declarations of a store that cannot be used any more, as `verify` and the doctor report them."""

from __future__ import annotations

from collections.abc import Sequence

from qmtl.foundation.errors import StoreError
from qmtl.foundation.words import counted
from qmtl.interfaces.cli.tables import Rows
from qmtl.runtime.io.sql.upkeep import KeptStore
from qmtl.runtime.sdk.declaring import Broken, broken_declarations
from qmtl.runtime.sdk.series_declarations import SeriesDeclarations


def broken_in(store: KeptStore) -> list[Broken]:
    """The series of a store whose declared calendar cannot be used for their bars."""
    names = [one.series for one in store.list_series()]
    return broken_declarations(store, names, SeriesDeclarations(store).grid)


def in_one_line(broken: Broken) -> str:
    """Why a declaration cannot be used."""
    return f"{broken.why.what}; {broken.why.why}" if broken.why.why else broken.why.what


def cure(broken: Broken) -> str:
    """The command that declares another calendar."""
    return f"qmtl store declare {broken.series} --calendar NAME"


def declarations_table(found: Sequence[Broken]) -> Rows:
    """A line per series."""
    rows = ((str(one.series), one.facts.calendar_name, in_one_line(one), cure(one)) for one in found)
    return Rows(("series", "calendar", "why", "what to do"), rows, prose=("why", "what to do"))


def declarations_error(found: Sequence[Broken], path: str) -> StoreError:
    """For the end of `verify`: the bytes are sound, and yet some series cannot be read."""
    return StoreError(
        f"{counted(len(found), 'declaration')} of the store cannot be used; its bars are sound",
        path=path,
        series=found[0].series,
        why=in_one_line(found[0]),
        next_step=f"{cure(found[0])!r}; 'qmtl calendars' lists the calendars",
    )
