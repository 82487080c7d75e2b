"""A snapshot becomes part of a store: every file is verified before the first bar is written."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from os import PathLike
from typing import NamedTuple

import polars as pl

from qmtl.foundation.errors import InvalidRequestError, StoreCorruptError
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.fingerprint import fingerprint
from qmtl.foundation.frames import empty_bars, stamps
from qmtl.foundation.grid import Grid
from qmtl.foundation.parallel import in_parallel
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import EARLIEST, LATEST
from qmtl.runtime.conformance.screen import screen
from qmtl.runtime.io.snapshots.addresses import place_named
from qmtl.runtime.io.snapshots.manifest import Manifest, Segment, SeriesEntry
from qmtl.runtime.io.snapshots.numbering import read_manifest
from qmtl.runtime.io.snapshots.place import Place
from qmtl.runtime.io.snapshots.reading import opinions_of, read_segment, records_of, verified_segment
from qmtl.runtime.io.snapshots.reports import add_opinions
from qmtl.runtime.io.store.contract import Store
from qmtl.runtime.io.store.values import CoverageRecord, Write
from qmtl.runtime.sdk.declaring import try_declaration
from qmtl.runtime.sdk.import_target import Given, Into, Target, opened_target

# What is done, how much of it, and how much there is.
Progress = Callable[[str, int, int], None]


class SeriesLoaded(NamedTuple):
    """What became of one series of a snapshot.

    added, unchanged, replaced: its rows. reports: those that the store had not. differs: ranges in which the
    store now holds other bars than the snapshot, for it had some that the snapshot lacks.
    """

    series: SeriesId
    rows: int
    added: int
    unchanged: int
    replaced: int
    reports: int
    differs: tuple[Span, ...]


@dataclass(frozen=True)
class SnapshotLoaded:
    """A snapshot that was loaded. as_of: the newest commit of the store after that, in ns."""

    manifest: Manifest
    location: str
    series: tuple[SeriesLoaded, ...]
    as_of: int


class _Checked(NamedTuple):
    """A series whose files are whole, and whose bars may be stored."""

    entry: SeriesEntry
    facts: SeriesFacts
    grid: Grid


def import_snapshot(
    into: Into,
    source: str | PathLike[str],
    *,
    number: int | None = None,
    series: Iterable[SeriesId | str] | None = None,
    progress: Progress | None = None,
) -> SnapshotLoaded:
    """Load a snapshot with its coverage, declared facts, reports and acceptances.

    into: a provider, a store, the folder or address of one, or `Settings`; one that is not there is made.
    source: a folder, or an address such as s3://bucket/path. number: which snapshot; None is the newest.
    series: only these of it.

    Every file is read and verified first, and nothing is written if one is damaged, or holds bars that are
    impossible. Then each segment is committed with what was answered of its time; if that ends early, what
    was committed holds, and the same call goes on. A bar that the store has with other values is corrected.

    Raises `StoreCorruptError` for a damaged snapshot, `InvalidRequestError` for one that cannot be read, or
    that contradicts what is declared of a series in the store.
    """
    place = place_named(source)
    show: Progress = progress or (lambda *_: None)
    manifest = read_manifest(place, number)
    entries = _chosen(manifest, series)
    with opened_target(into, Given(None, None, None, None, None)) as target:
        checked = [_checked(place, target, entry, show) for entry in entries]
        store, _ = target.opened()
        for one in checked:
            name = one.entry.series
            try_declaration(store, name, one.grid, one.facts, store.facts(name))
        loaded = tuple(_load(store, place, one, show) for one in checked)
        return SnapshotLoaded(manifest, place.location, loaded, store.newest().as_of)


def _chosen(manifest: Manifest, series: Iterable[SeriesId | str] | None) -> list[SeriesEntry]:
    if series is None:
        return list(manifest.series)
    names = [name if isinstance(name, SeriesId) else SeriesId.parse(name) for name in series]
    return [manifest.entry(name) for name in dict.fromkeys(names)]


def _checked(place: Place, target: Target, entry: SeriesEntry, show: Progress) -> _Checked:
    """Read all files of a series. Raises where one is damaged, or holds what must not be stored."""
    series = entry.series
    facts = target.declared.combined(series, target.stored.facts(series), entry.facts)
    grid = target.declared.grid(series, facts)

    def check(segment: Segment) -> None:
        found = screen(
            verified_segment(place, segment), grid=grid, facts=facts, within=segment.span, now=None
        )
        if found.quarantine.height:
            row = found.quarantine.row(0, named=True)
            raise InvalidRequestError(
                f"the snapshot holds {found.quarantine.height:,} bars that are impossible",
                series=series,
                why=f"the bar of {row['ts']} breaks the rule {row['rule']}",
                next_step="nothing was imported; take another snapshot of a store that is sound",
            )

    for number, _ in enumerate(in_parallel(check, entry.segments)):
        show(f"verifying {series}", number + 1, len(entry.segments))
    records = records_of(place, entry)
    if len(records) != entry.records or any(a.end > b.start for a, b in pairwise(records)):
        raise StoreCorruptError(
            f"the answers of {series} are not those that the manifest names",
            path=place.location,
            next_step="nothing was imported; take another snapshot",
        )
    opinions_of(place, entry)
    return _Checked(entry, facts, grid)


def _load(store: Store, place: Place, checked: _Checked, show: Progress) -> SeriesLoaded:
    entry = checked.entry
    series = entry.series
    if entry.facts.to_mapping():
        store.declare(series, checked.facts.storable)
    source = f"snapshot:{place.location}"
    records = records_of(place, entry)
    added = unchanged = replaced = 0
    differs = []
    at = EARLIEST
    for number, segment in enumerate(entry.segments):
        frame = read_segment(place, segment)
        for write in _writes(frame, _within(records, Span(at, segment.span.end)), source):
            commit = store.commit(series, write)
            added, unchanged = added + commit.added, unchanged + commit.unchanged
            replaced += commit.replaced.height
        if fingerprint(store.read(series, segment.span).frame) != segment.fingerprint:
            differs.append(segment.span)
        at = segment.span.end
        show(f"writing {series}", number + 1, len(entry.segments))
    for write in _writes(empty_bars(), _within(records, Span(at, LATEST)), source):
        store.commit(series, write)
    reports = add_opinions(store, series, opinions_of(place, entry))
    return SeriesLoaded(series, entry.rows, added, unchanged, replaced, reports, tuple(differs))


def _within(records: list[CoverageRecord], span: Span) -> list[CoverageRecord]:
    """The parts of records, which are disjoint and in order, that lie within a span."""
    first = bisect_right(records, span.start, key=lambda one: one.end)
    last = bisect_left(records, span.end, key=lambda one: one.start)
    return [
        one._replace(start=max(one.start, span.start), end=min(one.end, span.end))
        for one in records[first:last]
    ]


def _asked(record: CoverageRecord) -> tuple[str, str, int, int]:
    """What is equal for records that one write can bring."""
    return record.outcome, record.source, record.checked_at, record.expires_at or 0


def _writes(frame: pl.DataFrame, records: Iterable[CoverageRecord], source: str) -> Iterator[Write]:
    """Rows and records as writes: rows come with the answer that brought them, as far as it is known."""
    ts = stamps(frame)
    left = Coverage.of(Span(EARLIEST, LATEST))
    for _, group in groupby(sorted(records, key=_asked), _asked):
        alike = list(group)
        first = alike[0]
        spans = Coverage((one.start, one.end) for one in alike)
        base = Write(first.source, first.checked_at)
        if first.outcome == "answered":
            left -= spans
            yield replace(base, frame=frame.filter(spans.holds(ts)), answered=spans)
        elif first.outcome == "absent":
            yield replace(base, absent=spans, absent_until=first.expires_at)
        else:
            yield replace(base, retracted=spans, refused=spans, refused_until=first.expires_at)
    rest = frame.filter(left.holds(ts))
    if rest.height:
        yield Write(source, int(ts[-1]), rest)
