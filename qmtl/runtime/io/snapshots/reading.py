"""A snapshot read in place: bars and answers of a series, every byte against its checksum."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from qmtl.foundation.errors import StoreCorruptError
from qmtl.foundation.fingerprint import fingerprint
from qmtl.foundation.frames import empty_bars, stamps
from qmtl.foundation.parallel import in_parallel
from qmtl.foundation.timeline import Span
from qmtl.runtime.io.snapshots.manifest import Segment, SeriesEntry
from qmtl.runtime.io.snapshots.place import Place
from qmtl.runtime.io.snapshots.reports import Opinions, opinions_of_bytes
from qmtl.runtime.io.snapshots.segments import bars_of_bytes, read_part, records_of_bytes
from qmtl.runtime.io.store.values import CoverageRecord


def bars_of(place: Place, entry: SeriesEntry, span: Span) -> pl.DataFrame:
    """The bars of a series that open within `span`: BAR_SCHEMA, sorted.

    Raises `StoreCorruptError` where a file that is needed is not what it was.
    """
    frames = list(frames_of(place, entry, span))
    return pl.concat(frames) if frames else empty_bars()


def frames_of(place: Place, entry: SeriesEntry, span: Span) -> Iterator[pl.DataFrame]:
    """The same in pieces, one for each segment that has any."""
    needed = segments_within(entry, span)
    for frame in in_parallel(lambda one: read_segment(place, one), needed, worth_it=2):
        first, last = np.searchsorted(stamps(frame), span).tolist()
        yield frame.slice(first, last - first)


def segments_within(entry: SeriesEntry, span: Span) -> list[Segment]:
    """The segments of which rows open within a span, in order."""
    return [one for one in entry.segments if one.first < span.end and one.last >= span.start]


def read_segment(place: Place, segment: Segment) -> pl.DataFrame:
    """All bars of a segment. Raises `StoreCorruptError` if they are not those that the manifest names."""
    frame = bars_of_bytes(read_part(place, segment.part))
    ts = stamps(frame)
    if frame.height != segment.rows or (int(ts[0]), int(ts[-1])) != (segment.first, segment.last):
        raise _foreign(
            place, segment, "its rows are not as many, or not of the times, that the manifest says"
        )
    return frame


def verified_segment(place: Place, segment: Segment) -> pl.DataFrame:
    """The same, with every value against the fingerprint of the manifest, and in order."""
    frame = read_segment(place, segment)
    if not bool((np.diff(stamps(frame)) > 0).all()) or fingerprint(frame) != segment.fingerprint:
        raise _foreign(place, segment, "the fingerprint or the order of its rows is another")
    return frame


def records_of(place: Place, entry: SeriesEntry) -> list[CoverageRecord]:
    """The coverage records of a series, in order."""
    return [] if entry.answers is None else records_of_bytes(read_part(place, entry.answers))


def opinions_of(place: Place, entry: SeriesEntry) -> Opinions:
    """Its reports, and what was accepted."""
    return Opinions((), ()) if entry.reports is None else opinions_of_bytes(read_part(place, entry.reports))


def _foreign(place: Place, segment: Segment, why: str) -> StoreCorruptError:
    return StoreCorruptError(
        f"the file {segment.part.name} is not what the manifest says",
        path=place.location,
        span=segment.span,
        why=why,
        next_step="take another snapshot; neither the file nor the manifest is damaged, but one is foreign",
    )
