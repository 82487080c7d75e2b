"""What the commits of a store tell of a series: which came first, and what later ones did to their bars."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from qmtl.foundation.errors import StoreError
from qmtl.foundation.frames import VALUES, stamps
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import EMPTY, Coverage, Int64Array, Span
from qmtl.foundation.times import iso
from qmtl.runtime.io.store.contract import Store
from qmtl.runtime.io.store.values import ALL_TIME, CommitInfo
from qmtl.runtime.replay.changes import Values
from qmtl.runtime.replay.knowledge import Edit, Log


def log_of(store: Store, series: SeriesId, span: Span, as_of: int) -> Log:
    """The log of the cells of `span`, up to the commit time `as_of` (ns).

    Raises `StoreError` where retention has swept what was known after `span` began.
    """
    horizon = store.info().horizon
    if horizon > span.start:
        raise StoreError(
            "what was known of bars at their time is no longer stored",
            series=series,
            span=span,
            path=store.location,
            why=f"older versions were swept up to the retention horizon {iso(horizon)}",
            next_step="begin later, or leave out `knowledge=` to read all bars at one commit",
        )
    # What is there at the horizon was there before all commits that are listed.
    seen = Coverage.of(span) if horizon else EMPTY
    end = seen.hull.end if seen else span.start
    touched: list[tuple[int, int, int]] = []
    edits: list[Edit] = []
    waiting: list[Span] = []  # not in `seen` yet; most commits only go on where the one before ended
    for commit in store.commits(series):
        if commit.kind == "declare" or not horizon < commit.as_of <= as_of:
            continue
        own = Coverage.of(commit.span).clip(span)
        if commit.span == ALL_TIME:
            own = _touched(store, series, commit, span)
        if not own:
            continue
        if own.hull.start < end:
            seen, waiting = seen | Coverage(waiting), []
            if again := own & seen:
                edits += _edits(store, series, commit, again)
            touched += [(*fresh, commit.as_of) for fresh in (own - seen).spans]
        else:
            touched.append((*own.hull, commit.as_of))
        waiting.append(own.hull)
        end = max(end, own.hull.end)
    return Log(sorted(touched), edits, _delivered(store, series, span, as_of))


def _touched(store: Store, series: SeriesId, commit: CommitInfo, span: Span) -> Coverage:
    """The cells of a commit that also declares facts, which are of all time."""
    before, after = (store.read(series, span, as_of=at) for at in (commit.as_of - 1, commit.as_of))
    step = series.timeframe.step
    changed = stamps(store.diff(series, commit.as_of - 1, commit.as_of))
    cells = Coverage.from_arrays(changed, changed + step).clip(span)
    return cells | (after.answered - before.answered) | (before.answered - after.answered)


def _edits(store: Store, series: SeriesId, commit: CommitInfo, within: Coverage) -> Iterator[Edit]:
    """What a commit did to cells that earlier ones had touched, by `ts`."""
    before = commit.as_of - 1
    changes = store.diff(series, before, commit.as_of)
    changes = changes.filter(within.holds(stamps(changes)))
    if not changes.height:
        return
    ts = stamps(changes)
    hull = Span(int(ts[0]), int(ts[-1]) + 1)
    cells = Span(hull.start, hull.end - 1 + series.timeframe.step)
    answered = store.read(series, cells, as_of=before).answered.holds(ts)
    earlier = dict(_delivered(store, series, hull, before).tolist())
    later = dict(_delivered(store, series, hull, commit.as_of).tolist())
    sides = [changes.select(f"{side}_{name}" for name in VALUES).rows() for side in ("old", "new")]
    for one, old, new, said in zip(ts.tolist(), *map(_values, sides), answered.tolist(), strict=True):
        yield Edit(
            commit.as_of,
            one,
            old,
            new,
            said and old is None,
            earlier.get(one) if old is not None else None,
            later.get(one) if new is not None else None,
        )


def _values(rows: list[tuple[Any, ...]]) -> list[Values | None]:
    # Of a row that is there only a volume may be missing.
    return [None if row[0] is None else row for row in rows]


def _delivered(store: Store, series: SeriesId, span: Span, as_of: int) -> Int64Array:
    frame = store.deliveries(series, span, as_of=as_of)
    columns = [frame[name].to_numpy().view(np.int64) for name in ("ts", "delivered_at")]
    return np.stack(columns, axis=1)
