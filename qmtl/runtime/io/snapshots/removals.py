"""What somebody is about to remove from a place, written down there first, so that no snapshot counts on it.

Whoever removes files writes that down, looks which of them a manifest names, and then removes the others. A
writer creates its manifest, looks for such a note, and then whether all its files are there. So either the
one sees the manifest, or the other sees the note, or what became of the files.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from qmtl.foundation.errors import StoreError
from qmtl.foundation.parallel import in_parallel
from qmtl.foundation.times import iso
from qmtl.runtime.io.snapshots.manifest import Manifest, Part
from qmtl.runtime.io.snapshots.place import Place

# One note at a time: it is created only if there is none.
NOTE = "removals.json"


@contextmanager
def announced(place: Place, names: Collection[str], *, now: int, grace: int) -> Iterator[None]:
    """For a block that may remove files of these names, and looks first which of them are needed.

    now, grace: in ns; a note of longer ago was left by somebody who was killed. Raises `StoreError` where
    somebody else is removing files.
    """
    data = json.dumps({"at": now, "files": sorted(names)}, indent=1).encode()
    if not place.create(NOTE, data):
        since, _ = _note(place)
        if since is not None and since >= now - grace:
            raise StoreError(
                "somebody is removing files of these snapshots",
                path=place.location,
                why=f"{NOTE} says so since {iso(since)}",
                next_step=f"wait until that has ended; if it was killed, remove {NOTE}, and repeat",
            )
        place.put(NOTE, data)
    is_over = True
    try:
        yield
    except StoreError:
        is_over = False  # what was asked of the place may still be done
        raise
    finally:
        if is_over:
            place.remove(NOTE)


def check_nothing_goes(place: Place, manifest: Manifest) -> None:
    """For a manifest that was just created: take it away again where a file of it is gone, or about to go.

    Raises `StoreError` then.
    """
    since, going = _note(place)
    parts = sorted(manifest.parts, key=lambda part: part.name)
    found = [part.name for part in parts if part.name in going]
    if found:
        why = f"since {iso(since or 0)} somebody is removing files that no snapshot named, such as {found[0]}"
        hint = f"repeat it once that has ended; if it was killed, remove {NOTE} first"
    else:
        found = [name for name in in_parallel(lambda part: _lacking(place, part), parts) if name]
        why = f"somebody has removed {found[0]} meanwhile, which no snapshot named" if found else ""
        hint = "repeat it"
    if found:
        place.remove(manifest.name)
        raise StoreError("the snapshot was not written", path=place.location, why=why, next_step=hint)


def _lacking(place: Place, part: Part) -> str:
    return "" if place.size(part.name) == part.bytes else part.name


def _note(place: Place) -> tuple[int | None, frozenset[str]]:
    """When the note was written, and the files that it names; nothing where there is none."""
    data = place.get(NOTE)
    if data is None:
        return None, frozenset()
    try:
        found = json.loads(data)
        return int(found["at"]), frozenset(map(str, found["files"]))
    except (ValueError, KeyError, TypeError) as failure:
        raise StoreError(
            f"{NOTE} of the snapshots cannot be read",
            path=place.location,
            why=str(failure),
            next_step="if nobody removes files there just now, delete it",
        ) from failure
