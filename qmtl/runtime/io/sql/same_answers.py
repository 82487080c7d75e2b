"""Whether two stores answer alike: each series at a commit, read from both and compared by fingerprint."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from qmtl.foundation.errors import StoreCorruptError
from qmtl.foundation.fingerprint import fingerprint
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Int64Array, Span
from qmtl.foundation.times import EARLIEST, LATEST
from qmtl.runtime.io.sql import reading
from qmtl.runtime.io.sql.commits import series_number
from qmtl.runtime.io.sql.database import Side
from qmtl.runtime.io.sql.dialect import LIVE, Connection
from qmtl.runtime.io.sql.pins import Pin
from qmtl.runtime.io.sql.view import View
from qmtl.runtime.io.store.damage import corrupt
from qmtl.runtime.io.store.values import CoverageRecord

# Rows and coverage records that are read at once, of one series.
AT_ONCE = 1 << 17


class Answer(NamedTuple):
    """What a store says of a range: with the calendar, all that tells its bars' states."""

    height: int
    rows: str
    records: tuple[CoverageRecord, ...]
    damaged: Coverage


def compare(source: Side, target: Side, series: SeriesId, pin: Pin | None) -> int:
    """Compare all that two stores say of a series at a pin, or now; how many rows there are.

    Raises `StoreCorruptError` that names the first range in which they differ, or in which one is damaged.
    """
    tx = LIVE if pin is None else pin.tx
    at = "the newest commit" if pin is None else f"the pin {pin.name!r}"
    with source.naming(series):
        view = _view(source.connection, series, tx)
        declared, places = view.facts(), _places(view)
    if declared != _view(target.connection, series, tx).facts():
        raise _differs(series, None, at, "what is declared of it")
    rows = 0
    for span in windows(places, AT_ONCE):
        with source.naming(series, span):
            ours = _answer(source.connection, series, span, pin)
        theirs = _answer(target.connection, series, span, pin)
        rows += ours.height
        for name, left, right in zip(_NAMES, ours, theirs, strict=True):
            if left != right:
                raise _differs(series, span, at, name)
    return rows


_NAMES = ("the number of its rows", "its rows", "what was answered", "what was lost to damage")


def _view(connection: Connection, series: SeriesId, tx: int) -> View:
    return View(connection, series, series_number(connection, series), tx)


def _answer(connection: Connection, series: SeriesId, span: Span, pin: Pin | None) -> Answer:
    is_first = span.start == EARLIEST  # then the index is looked through for what damage has hidden
    as_of = None if pin is None else pin.as_of
    look = reading.read(
        connection, [series], span, as_of, 0, None, flags_by={}, is_first=lambda one: is_first
    )[series]
    if look.damage:
        raise corrupt(
            series, Coverage(one.span for one in look.damage).clip(span), what="it is not copied", span=span
        )
    frame = look.snapshot.frame
    return Answer(frame.height, fingerprint(frame), tuple(look.snapshot.answers), look.snapshot.damaged)


def _differs(series: SeriesId, span: Span | None, at: str, what: str) -> StoreCorruptError:
    return StoreCorruptError(
        f"the copy differs from the store at {at}: in {what}",
        series=series,
        span=span,
        why="both were read again, and compared by fingerprint",
        next_step="see what `qmtl store verify` says of the store; the copy was not put in its place",
    )


def _places(view: View) -> tuple[Int64Array, Int64Array]:
    """Where pieces of a series end, ascending, and how many rows and records end there."""
    chunks = view.chunks(-LIVE, LIVE - 1)
    records = view.rows('SELECT "end" FROM answer WHERE series = :series AND @at').fetchall()
    hot = view.hot_stamps() + 1
    ends = [*(chunk.last_ts + 1 for chunk in chunks), *hot.tolist(), *(end for (end,) in records)]
    weights = [*(chunk.rows for chunk in chunks), *[1] * (len(hot) + len(records))]
    each, which = np.unique(np.array(ends, dtype=np.int64), return_inverse=True)
    return each, np.bincount(which, weights, each.size).astype(np.int64)


def windows(places: tuple[Int64Array, Int64Array], most: int) -> Iterator[Span]:
    """All of time, cut where pieces end, so that those of one range have `most` rows and records at most.

    places: where pieces end, ascending, each once, and how many rows and records end there. Where there are
    more of them, they have a range for themselves.
    """
    start = before = EARLIEST
    held = 0
    for end, weight in zip(*(each.tolist() for each in places), strict=True):
        if held + weight > most and before > start:
            yield Span(start, before)
            start, held = before, 0
        held += weight
        before = end
    yield Span(start, LATEST)
