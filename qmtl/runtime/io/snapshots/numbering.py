"""The numbered manifests of one place: which there are, the newest, and the next, written by one of many."""

from __future__ import annotations

import logging
from collections.abc import Callable

from qmtl.foundation.errors import InvalidRequestError, StoreError
from qmtl.runtime.io.snapshots.manifest import MANIFESTS, Manifest, manifest_name, manifest_number
from qmtl.runtime.io.snapshots.place import Place
from qmtl.runtime.io.snapshots.removals import check_nothing_goes

_log = logging.getLogger("seamless.snapshots")

# Others that were quicker, one after the other, before a writer gives up.
_MOST_RACES = 1_000


def numbers(place: Place) -> list[int]:
    """The numbers of all manifests, ascending.

    A listing may come late; what it lacks at its end is asked for by name.
    """
    listed = sorted(
        number for entry in place.entries(MANIFESTS) if (number := manifest_number(entry.name)) is not None
    )
    last = listed[-1] if listed else 0
    while place.size(manifest_name(last + 1)) is not None:
        last += 1
        listed.append(last)
    return listed


def read_manifest(place: Place, number: int | None = None) -> Manifest:
    """The snapshot of a number, or the newest.

    Raises `InvalidRequestError` where there is none, and otherwise as `Manifest.from_bytes`.
    """
    if number is None:
        known = numbers(place)
        if not known:
            raise InvalidRequestError(
                f"there is no snapshot at {place.location}",
                next_step="write one with `qmtl export --snapshot`, or check the place",
            )
        number = known[-1]
    data = place.get(manifest_name(number))
    if data is None:
        raise InvalidRequestError(
            f"there is no snapshot {number} at {place.location}",
            next_step="`qmtl snapshot list` tells which there are",
        )
    return Manifest.from_bytes(data, number, place.location)


def newest_manifest(place: Place) -> Manifest | None:
    """The newest snapshot; None if there is none yet."""
    known = numbers(place)
    return read_manifest(place, known[-1]) if known else None


def publish(place: Place, make: Callable[[int], Manifest], after: int) -> Manifest:
    """Write the manifest that `make` gives for a number: the first one behind `after` that is free.

    All files that it names must be there: where one of them is gone, or about to go, the manifest is taken
    away again, and `StoreError` raised. Whoever else writes at the same time gets another number.
    """
    manifest = _created(place, make, after)
    check_nothing_goes(place, manifest)
    return manifest


def _created(place: Place, make: Callable[[int], Manifest], after: int) -> Manifest:
    for number in range(after + 1, after + 1 + _MOST_RACES):
        manifest = make(number)
        data = manifest.to_bytes()
        try:
            is_new = place.create(manifest.name, data)
        except StoreError:
            # The answer may be all that was lost.
            if place.get(manifest.name) != data:
                raise
            return manifest
        # Where the question was repeated after an answer was lost, what is there is our own.
        if is_new or place.get(manifest.name) == data:
            return manifest
        _log.info("snapshot %d at %s was written by somebody else meanwhile", number, place.location)
    raise StoreError(
        "no number is free for the snapshot",
        path=place.location,
        why=f"others have written the {_MOST_RACES:,} that were tried, from {after + 1} on",
        next_step="repeat it; what was written is used again",
    )
