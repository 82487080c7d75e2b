"""Formats of stores: numbered steps from one to the next, which only `qmtl store migrate` takes."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import NamedTuple

from qmtl.foundation.errors import InvalidRequestError, StoreError

# By the format that it leads to: the statements that make it of the one before.
Steps = Mapping[int, str]


class Migration(NamedTuple):
    """What `migrate_store` has done. before, after: formats, the same where there was nothing to do."""

    place: str
    before: int
    after: int


def steps_after(found: int, steps: Steps) -> list[str]:
    """What makes a store of an older format one of today's, in order."""
    return [steps[number] for number in sorted(steps) if number > found]


def refuse_newer(found: int, ours: int, place: str | PathLike[str]) -> None:
    """Raise `StoreError` for a format that this version does not know."""
    if found > ours:
        raise StoreError(
            f"the store has format {found}; this qmtl reads formats up to {ours}",
            path=place,
            why="a newer qmtl has written it",
            next_step="pip install --upgrade qmtl",
        )


def older(found: int, ours: int, place: str | PathLike[str]) -> StoreError:
    """The refusal of an older format. Programs of the version that made it could not go on after a change."""
    return StoreError(
        f"the store has format {found}, and this qmtl writes format {ours}",
        path=place,
        why="an older qmtl has made it, and may still use it elsewhere",
        next_step=f"back it up, since no way leads back, and then: qmtl --store '{place}' store migrate",
    )


def nothing_to_migrate(place: object) -> InvalidRequestError:
    return InvalidRequestError(
        f"there is no store to migrate at {place}", next_step="check the folder, or the address"
    )
