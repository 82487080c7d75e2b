"""What a place holds: its snapshots, whether each file is whole, and which files no snapshot needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from qmtl.foundation.errors import InvalidRequestError, StoreError
from qmtl.foundation.parallel import in_parallel
from qmtl.runtime.io.snapshots.folder import UNFINISHED
from qmtl.runtime.io.snapshots.manifest import MANIFESTS, SUFFIXES, Manifest, SeriesEntry, manifest_name
from qmtl.runtime.io.snapshots.numbering import numbers, read_manifest
from qmtl.runtime.io.snapshots.place import Entry, Place
from qmtl.runtime.io.snapshots.reading import opinions_of, records_of, verified_segment
from qmtl.runtime.io.snapshots.removals import announced

# What is done of how many.
Progress = Callable[[int, int], None]


class Listed(NamedTuple):
    """One snapshot: its manifest, or why that cannot be read."""

    number: int
    manifest: Manifest | None
    problem: str | None


def list_snapshots(place: Place) -> list[Listed]:
    """All snapshots of a place, oldest first."""
    return [_listed(place, number) for number in numbers(place)]


def _listed(place: Place, number: int) -> Listed:
    try:
        return Listed(number, read_manifest(place, number), None)
    except (StoreError, InvalidRequestError) as error:
        return Listed(number, None, error.what + (f": {error.why}" if error.why else ""))


@dataclass(frozen=True)
class Verified:
    """What was read of a snapshot. problems: one for each file that is not what it was."""

    number: int
    files: int
    rows: int
    bytes: int
    problems: tuple[str, ...]


def verify_snapshot(place: Place, manifest: Manifest, progress: Progress | None = None) -> Verified:
    """Read every file of a snapshot: against its checksum, and bars against their fingerprint."""
    checks = [check for entry in manifest.series for check in _checks(place, entry)]
    problems = []
    for number, problem in enumerate(in_parallel(_problem, checks)):
        if problem is not None:
            problems.append(problem)
        if progress is not None:
            progress(number + 1, len(checks))
    size = sum(part.bytes for part in manifest.parts)
    return Verified(manifest.number, len(manifest.parts), manifest.rows, size, tuple(problems))


def _checks(place: Place, entry: SeriesEntry) -> Iterator[Callable[[], object]]:
    for segment in entry.segments:
        yield lambda segment=segment: verified_segment(place, segment)  # type: ignore[misc]
    yield lambda: records_of(place, entry)
    yield lambda: opinions_of(place, entry)


def _problem(check: Callable[[], object]) -> str | None:
    try:
        check()
    except StoreError as error:
        return error.what + (f": {error.why}" if error.why else "")
    return None


@dataclass(frozen=True)
class Garbage:
    """Files that no manifest names. old: those that may go. young: how many are too new for that."""

    old: tuple[Entry, ...]
    young: int

    @property
    def bytes(self) -> int:
        return sum(entry.size for entry in self.old)


def find_garbage(place: Place, *, now: int, grace: int) -> Garbage:
    """The files of ours that no manifest names, and that were written more than `grace` (ns) before `now`.

    Raises what reading a manifest raises: a file that nobody can say is unneeded stays. Where no manifest is
    listed, it is `InvalidRequestError`: the listing may be late, or the place another one.
    """
    listed = numbers(place)
    if not listed:
        raise InvalidRequestError(
            f"there is no snapshot at {place.location}, and so nothing that would stay",
            next_step="check the place; to remove all of it, delete the folder itself",
        )
    # A listing that is late in its middle must not cost a snapshot its files.
    late = [
        number
        for number in sorted({*range(listed[0], listed[-1])} - {*listed})
        if place.size(manifest_name(number)) is not None
    ]
    named = {part.name for number in (*listed, *late) for part in read_manifest(place, number).parts}
    unnamed = [
        entry
        for prefix in (*SUFFIXES, MANIFESTS)
        for entry in place.entries(prefix)
        if entry.name not in named and _is_ours(entry.name)
    ]
    old = tuple(entry for entry in unnamed if entry.modified < now - grace)
    return Garbage(old, len(unnamed) - len(old))


def _is_ours(name: str) -> bool:
    folder, _, last = name.rpartition("/")
    if last.startswith(UNFINISHED):
        return True
    stem, dot, ending = last.partition(".")
    return SUFFIXES.get(f"{folder}/") == f"{dot}{ending}" and len(stem) == 64


def remove_garbage(place: Place, garbage: Garbage, *, now: int, grace: int) -> int:
    """Delete what `find_garbage` has found, unless a snapshot needs it by now; how many files went.

    Raises `StoreError` while somebody else does so.
    """
    if not garbage.old:
        return 0
    gone = 0
    with announced(place, [entry.name for entry in garbage.old], now=now, grace=grace):
        still = {entry.name: entry for entry in find_garbage(place, now=now, grace=grace).old}
        for entry in garbage.old:
            if still.get(entry.name) == entry:
                place.remove(entry.name)
                gone += 1
    return gone
