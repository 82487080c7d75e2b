"""What a store holds becomes a snapshot, by names and times that people write."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, closing, nullcontext
from os import PathLike
from typing import Any

from qmtl.foundation.clock import Clock, SystemClock
from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import EARLIEST, LATEST, iso, to_ns
from qmtl.runtime.io.snapshots.addresses import place_named
from qmtl.runtime.io.snapshots.writing import Progress, SnapshotWritten, write_snapshot
from qmtl.runtime.io.store.contract import Store
from qmtl.runtime.sdk.stores import is_store, opened_store, place_of


def export_snapshot(
    store: str | PathLike[str] | Store,
    dest: str | PathLike[str],
    *,
    series: Iterable[SeriesId | str] | None = None,
    start: Any = None,
    end: Any = None,
    as_of: Any = None,
    clock: Clock | None = None,
    progress: Progress | None = None,
) -> SnapshotWritten:
    """Write what a store holds at one commit as the next snapshot of a place.

    store: an open store, or the folder or address of one. dest: a folder, or an address such as
        s3://bucket/path. series: only these; left out, all. start, end: only bars that open in
        `[start, end)`, and answers for that time. as_of: a commit time; left out, the newest commit.

    Files that an earlier snapshot of the place holds are not written again. Nothing is a snapshot before the
    whole of it is there; of those who write at the same time, each gets a number of its own.

    Raises `InvalidRequestError` where there is nothing to write, `StoreCorruptError` where bars are lost to
    damage, and `StoreError` where the place cannot be written.
    """
    span = span_between(start, end)
    point = None if as_of is None else to_ns(as_of, name="as_of")
    clock = clock or SystemClock()
    place = place_named(dest)
    if isinstance(store, str | PathLike):
        where = place_of(store)
        if not is_store(where):
            raise InvalidRequestError(
                f"there is no store at {where}", next_step="check its folder or address"
            )
        opened: AbstractContextManager[Store] = closing(opened_store(store, clock=clock, retention=None))
    else:
        opened = nullcontext(store)
    with opened as source:
        names = chosen_series(source, series)
        return write_snapshot(source, place, names, clock=clock, span=span, as_of=point, progress=progress)


def span_between(start: Any, end: Any) -> Span:
    """`[start, end)`; where one is left out, all of time."""
    first = EARLIEST if start is None else to_ns(start, name="start")
    last = LATEST if end is None else to_ns(end, name="end")
    if first > last:
        raise InvalidRequestError(
            f"start {iso(first)} comes after end {iso(last)}", next_step="exchange them"
        )
    return Span(first, last)


def chosen_series(store: Store, series: Iterable[SeriesId | str] | None) -> list[SeriesId]:
    """The series of a store, or those that are named. Raises `InvalidRequestError` for an unknown one."""
    there = [known.series for known in store.list_series()]
    names = there if series is None else [_parsed(name) for name in series]
    for name in names:
        if name not in there:
            raise InvalidRequestError(
                "the store does not know this series",
                series=name,
                next_step="`list_series()` of the store names those that it has",
            )
    return names


def _parsed(name: SeriesId | str) -> SeriesId:
    return name if isinstance(name, SeriesId) else SeriesId.parse(name)
