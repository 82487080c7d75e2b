"""A snapshot as one end of a copy: of a whole store, into a whole store, or from place to place.

A snapshot is named `snapshot:PLACE`, or `snapshot:PLACE#NUMBER`; that of an object store by its address too.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from hashlib import sha256
from os import PathLike
from pathlib import Path
from typing import NamedTuple

from qmtl.foundation.clock import SystemClock
from qmtl.foundation.errors import InvalidRequestError, StoreCorruptError
from qmtl.foundation.parallel import in_parallel
from qmtl.foundation.questdb_address import QuestDBAddress
from qmtl.foundation.server_addresses import ServerAddress
from qmtl.runtime.io.snapshots.addresses import is_object_store, place_named
from qmtl.runtime.io.snapshots.manifest import Manifest, Part
from qmtl.runtime.io.snapshots.numbering import newest_manifest, publish, read_manifest
from qmtl.runtime.io.snapshots.place import Place
from qmtl.runtime.io.snapshots.segments import read_part
from qmtl.runtime.io.snapshots.upkeep import verify_snapshot
from qmtl.runtime.io.sql.beside_snapshots import left_behind
from qmtl.runtime.io.sql.copying import fill
from qmtl.runtime.io.store.contract import Store
from qmtl.runtime.sdk.snapshot_export import export_snapshot
from qmtl.runtime.sdk.snapshot_import import SnapshotLoaded, import_snapshot
from qmtl.runtime.sdk.store_copy import opened_to_copy, target_of_new
from qmtl.runtime.sdk.stores import opened_store, place_of

# What is counted, how many are done, and how many there are.
Progress = Callable[[str, int, int], None]

_SCHEME = "snapshot:"
_OWN_COMMITS = "the id of the store, and the numbers and times of its commits: it has those of this copy"


class SnapshotName(NamedTuple):
    """place: a folder, or an address such as s3://bucket/path. number: None for the newest."""

    place: str
    number: int | None

    @classmethod
    def parse(cls, text: str) -> SnapshotName | None:
        """The snapshot that a text names; None for what is meant as a store."""
        is_named = text.startswith(_SCHEME)
        if not is_named and not is_object_store(text):
            return None
        place, number = text.removeprefix(_SCHEME), None
        if found := re.fullmatch(r"(.*)#([1-9][0-9]{0,7})", place):
            place, number = found[1], int(found[2])
        if not place:
            raise InvalidRequestError(
                f"{text!r} names no place of snapshots", next_step="write snapshot:FOLDER or s3://bucket/path"
            )
        return cls(place, number)


@dataclass(frozen=True)
class SnapshotCopied:
    """A copy of which one end or both are snapshots.

    number: of the snapshot that was written, else of the one that was read. fingerprint: of it; all that was
    copied has it. not_kept: what stayed behind, in words.
    """

    source: str
    target: str
    number: int
    fingerprint: str
    series: int
    rows: int
    not_kept: tuple[str, ...]


def copy_with_snapshot(
    source: str | PathLike[str] | ServerAddress | SnapshotName,
    target: str | PathLike[str] | ServerAddress | SnapshotName,
    *,
    progress: Progress | None = None,
) -> SnapshotCopied:
    """Copy a store to a snapshot, a snapshot to a store, or a snapshot to another place.

    A store that is copied goes as a whole, as of its newest commit; every file is read back. A store that is
    made must not be there yet, and is none before all of the snapshot is in it; an attempt that ended early
    is gone on with. A snapshot becomes the next one of its place.

    Raises as `export_snapshot`, `import_snapshot` and `copy_store`.
    """
    show: Progress = progress or (lambda *_: None)
    if isinstance(target, SnapshotName):
        if target.number is not None:
            raise InvalidRequestError(
                f"a snapshot cannot be written as number {target.number}",
                why="it becomes the next one of its place",
                next_step=f"name the place alone, {target.place}",
            )
        if isinstance(source, SnapshotName):
            return _to_place(source, place_named(target.place), show)
        return _to_snapshot(source, target.place, show)
    assert isinstance(source, SnapshotName)
    return _to_store(source, place_of(target), show)


def _copied(source: str, target: str, manifest: Manifest, not_kept: tuple[str, ...]) -> SnapshotCopied:
    return SnapshotCopied(
        source,
        target,
        manifest.number,
        manifest.fingerprint,
        len(manifest.series),
        manifest.rows,
        not_kept,
    )


def _to_snapshot(source: str | PathLike[str] | ServerAddress, dest: str, show: Progress) -> SnapshotCopied:
    origin, place = place_of(source), place_named(dest)
    with opened_to_copy(origin) as database:
        not_kept = left_behind(database)
    with closing(opened_store(origin, clock=SystemClock(), retention=None)) as store:
        made = export_snapshot(store, dest, progress=show)
    _check(place, made.manifest, show)
    return _copied(str(origin), f"{_SCHEME}{place.location}", made.manifest, not_kept)


def _to_place(source: SnapshotName, place: Place, show: Progress) -> SnapshotCopied:
    """Copy the files of a snapshot, and then its manifest, under the next number that is free there."""
    origin = place_named(source.place)
    manifest = read_manifest(origin, source.number)
    if origin.location == place.location:
        raise InvalidRequestError(
            f"the copy and the snapshot are at the same place, {place.location}", next_step="name another one"
        )

    def bring(part: Part) -> None:
        if place.size(part.name) != part.bytes:
            place.put(part.name, read_part(origin, part))

    parts = sorted(manifest.parts, key=lambda part: part.name)
    for number, _ in enumerate(in_parallel(bring, parts, worth_it=2)):
        show("files", number + 1, len(parts))
    _check(place, manifest, show)
    before = newest_manifest(place)
    made = publish(
        place, lambda number: replace(manifest, number=number), 0 if before is None else before.number
    )
    return _copied(f"{_SCHEME}{origin.location}", f"{_SCHEME}{place.location}", made, ())


def _check(place: Place, manifest: Manifest, show: Progress) -> None:
    """Read every file back. Raises `StoreCorruptError` where one is not what was written."""
    found = verify_snapshot(place, manifest, lambda done, total: show("verifying", done, total))
    if found.problems:
        raise StoreCorruptError(
            "the copy is not what was copied",
            path=place.location,
            why=found.problems[0],
            next_step="look into the disk or the server of the snapshot, and repeat it to another place",
        )


def _to_store(source: SnapshotName, target: Path | ServerAddress, show: Progress) -> SnapshotCopied:
    place = place_named(source.place)
    manifest = read_manifest(place, source.number)
    if isinstance(target, QuestDBAddress):
        _refuse_early_bars(manifest)

    def load(store: Store) -> SnapshotLoaded:
        loaded = import_snapshot(store, source.place, number=manifest.number, progress=show)
        for one in loaded.series:
            if one.differs:
                raise StoreCorruptError(
                    "the copy differs from the snapshot",
                    series=one.series,
                    span=one.differs[0],
                    why="its bars were read again, and compared by fingerprint",
                    next_step="it was not put in its place: look into the disk or the server, and repeat",
                )
        return loaded

    with target_of_new(target) as made:
        # More than 1, which marks copies of stores.
        of = 2 + (int.from_bytes(sha256(manifest.to_bytes()).digest()[:8]) >> 2)
        fill(made, of, load)
        where = made.location
    return _copied(f"{_SCHEME}{place.location}", where, manifest, (_OWN_COMMITS,))


def _refuse_early_bars(manifest: Manifest) -> None:
    from qmtl.runtime.io.questdb.copy_target import too_early

    for entry in manifest.series:
        if entry.span is not None and entry.span.start < 0:
            raise too_early(entry.series, entry.span.start)
