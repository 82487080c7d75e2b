"""A store, or some of its series, becomes a snapshot; what an earlier one holds is not written again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import NamedTuple, Self
from uuid import uuid4

from qmtl.foundation.clock import Clock
from qmtl.foundation.errors import InvalidRequestError, StoreError
from qmtl.foundation.facts import NOTHING_DECLARED
from qmtl.foundation.fingerprint import fingerprint
from qmtl.foundation.frames import stamps
from qmtl.foundation.parallel import in_parallel
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import iso
from qmtl.foundation.version import __version__
from qmtl.runtime.io.snapshots.manifest import (
    ANSWERS,
    REPORTS,
    SEGMENTS,
    Manifest,
    Part,
    Segment,
    SeriesEntry,
    part_of,
)
from qmtl.runtime.io.snapshots.numbering import newest_manifest, publish
from qmtl.runtime.io.snapshots.pieces import pieces
from qmtl.runtime.io.snapshots.place import Place
from qmtl.runtime.io.snapshots.reports import opinions_at, opinions_to_bytes
from qmtl.runtime.io.snapshots.segments import bars_to_bytes, records_to_bytes
from qmtl.runtime.io.store.contract import Store
from qmtl.runtime.io.store.coverage_records import merge
from qmtl.runtime.io.store.damage import corrupt
from qmtl.runtime.io.store.values import ALL_TIME, CoverageRecord, Snapshot

# Files that are written at a time: each of a segment has some megabytes.
_SENT_AT_ONCE = 4
# What is counted, how many are done, and how many there are.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class SnapshotWritten:
    """A snapshot that is there.

    written, bytes: files that are new, and their size. kept: how many it shares with an earlier one.
    """

    manifest: Manifest
    location: str
    written: int
    bytes: int
    kept: int


class _Made(NamedTuple):
    """A segment, and the bytes of its file; None where it was there."""

    segment: Segment
    data: bytes | None


def write_snapshot(
    store: Store,
    place: Place,
    series: Iterable[SeriesId],
    *,
    clock: Clock,
    span: Span = ALL_TIME,
    as_of: int | None = None,
    progress: Progress | None = None,
) -> SnapshotWritten:
    """Write what a store holds of some series at one commit, and then the manifest that makes it a snapshot.

    span: only bars that open within it, and answers for it. as_of: commit time in ns; None for the newest.
    Bars are in memory in pieces only. Ended early, it leaves files that no manifest names, and no snapshot.

    Raises `StoreCorruptError` where bars are lost to damage: a snapshot is whole, or it is not;
    `InvalidRequestError` where nothing was known as of then.
    """
    names = sorted(set(series), key=str)
    if not names:
        raise InvalidRequestError(
            "the store has no series to take a snapshot of",
            next_step="fill it with `qmtl import` or `qmtl fetch`",
        )
    newest = store.newest()
    point = newest.as_of if as_of is None else as_of
    before = newest_manifest(place)
    known = {} if before is None else {entry.series: entry for entry in before.series}
    entries = []
    with _Sender(place) as sender:
        writer = _Writer(store, sender, span, point)
        for number, name in enumerate(names):
            if progress is not None:
                progress(f"writing {name}", number, len(names))
            entries.append(writer.entry(name, known.get(name)))
    if progress is not None:
        progress("writing", len(names), len(names))
    if as_of is not None and not any(entry.is_known for entry in entries):
        raise nothing_known(as_of)
    _check_kept(place, writer.kept)
    draft = Manifest(
        0, uuid4().hex, clock.now(), f"qmtl {__version__}", store.store_id, point, tuple(entries)
    )
    manifest = publish(
        place, lambda number: replace(draft, number=number), 0 if before is None else before.number
    )
    return SnapshotWritten(manifest, place.location, sender.files, sender.bytes, len(writer.kept))


class _Sender:
    """Writes files in the background, and counts them: others are made while a disk is waited for.

    At its end all of them are there, or the first failure is raised. Used by one thread.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._pool = ThreadPoolExecutor(_SENT_AT_ONCE, thread_name_prefix="qmtl-snapshot")
        self._under_way: deque[Future[None]] = deque()
        self.files = self.bytes = 0

    def send(self, part: Part, data: bytes) -> None:
        """Write a file. Waits, and raises what has failed, where many are under way."""
        self.files += 1
        self.bytes += len(data)
        self._under_way.append(self._pool.submit(self._place.put, part.name, data))
        while len(self._under_way) > _SENT_AT_ONCE:
            self._under_way.popleft().result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._pool:
            while kind is None and self._under_way:
                self._under_way.popleft().result()


class _Writer:
    """Writes the files of series. kept: those that are there already."""

    def __init__(self, store: Store, sender: _Sender, span: Span, as_of: int) -> None:
        self._store = store
        self._sender = sender
        self._span = span
        self._as_of = as_of
        self.kept: set[Part] = set()

    def entry(self, series: SeriesId, before: SeriesEntry | None) -> SeriesEntry:
        """Write a series. before: what the snapshot before says of it."""
        known = {} if before is None else {segment.span: segment for segment in before.segments}
        records: list[CoverageRecord] = []

        def with_rows() -> Iterator[Snapshot]:
            for piece in pieces(self._store, series, self._span, self._as_of):
                if piece.damaged:
                    raise corrupt(
                        series,
                        piece.damaged,
                        what="there is no snapshot",
                        span=piece.span,
                        path=getattr(self._store, "location", None),
                    )
                records.extend(_clipped(piece))
                if piece.count:
                    yield piece

        def segment_of(piece: Snapshot) -> _Made:
            return self._segment(series, piece, known.get(piece.span))

        segments = []
        for made in in_parallel(segment_of, with_rows(), worth_it=2):
            segments.append(made.segment)
            self._send(made.segment.part, made.data)
        old_answers = None if before is None else before.answers
        old_reports = None if before is None else before.reports
        records = merge(records)
        answers = self._beside(ANSWERS, records_to_bytes(records), old_answers) if records else None
        opinions = opinions_at(self._store, series, self._as_of)
        reports = self._beside(REPORTS, opinions_to_bytes(opinions), old_reports) if opinions else None
        newest = opinions.reports[-1] if opinions.reports else {}
        facts = self._store.facts(series, as_of=self._as_of)
        return SeriesEntry(
            series,
            tuple(segments),
            answers,
            len(records),
            NOTHING_DECLARED if facts is None else facts,
            reports,
            newest.get("schema_id"),
            newest.get("ruleset"),
        )

    def _segment(self, series: SeriesId, piece: Snapshot, before: Segment | None) -> _Made:
        frame = piece.frame
        hashed = fingerprint(frame)
        if before is not None and (before.rows, before.fingerprint) == (frame.height, hashed):
            return _Made(before, None)
        data = bars_to_bytes(series, frame)
        part = part_of(SEGMENTS, data)
        ts = stamps(frame)
        return _Made(Segment(part, piece.span, frame.height, int(ts[0]), int(ts[-1]), hashed), data)

    def _beside(self, kind: str, data: bytes, before: Part | None) -> Part:
        part = part_of(kind, data)
        self._send(part, None if part == before else data)
        return part

    def _send(self, part: Part, data: bytes | None) -> None:
        if data is None:
            self.kept.add(part)
        else:
            self._sender.send(part, data)


def _check_kept(place: Place, kept: Iterable[Part]) -> None:
    """Raise `StoreError` where a file of an earlier snapshot is gone that this one would name."""
    for part in sorted(kept, key=lambda part: part.name):
        size = place.size(part.name)
        if size != part.bytes:
            raise StoreError(
                f"the file {part.name} of an earlier snapshot is damaged, and this one needs it",
                path=place.location,
                why="it is not there" if size is None else f"it has {size:,} of {part.bytes:,} bytes",
                next_step="put a good copy in its place, or write the snapshot to another place",
            )


def _clipped(piece: Snapshot) -> Iterator[CoverageRecord]:
    start, end = piece.span
    for record in piece.answers:
        yield record._replace(start=max(record.start, start), end=min(record.end, end))


def nothing_known(as_of: int) -> InvalidRequestError:
    """The error of an export as of a time before all commits: most often a mistyped year."""
    return InvalidRequestError(
        f"there is nothing to export as of {iso(as_of)}",
        why="the store knew nothing of these series then, in this range",
        next_step="give a later time: `store.commits(series)` tells when each was written",
    )
