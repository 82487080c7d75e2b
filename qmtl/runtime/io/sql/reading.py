"""How rows of one commit are found and read, for one series or for many at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.runtime.conformance.flags import Flags
from qmtl.runtime.io.sql.assembling import assemble
from qmtl.runtime.io.sql.blocks import Cancelled
from qmtl.runtime.io.sql.commits import LOST, SeriesEntry, commit_at, newest, series_entries
from qmtl.runtime.io.sql.dialect import LIVE, Connection
from qmtl.runtime.io.sql.index_checks import look_for_gaps, look_through_entries, look_through_history
from qmtl.runtime.io.sql.kept_flags import Wanted, of_span
from qmtl.runtime.io.sql.view import View
from qmtl.runtime.io.sql.views import answers_of, views_of
from qmtl.runtime.io.store.damage import Damage
from qmtl.runtime.io.store.snapshots import records_around, snapshot_of
from qmtl.runtime.io.store.values import CoverageRecord, Point, Snapshot

# Series that are read at once; of a server, their packed bytes are in memory together.
_AT_ONCE = 1024
_FROM_A_SERVER = 256


class Look(NamedTuple):
    """One series read: its snapshot, the damage met on the way, and whether its index was sound.

    The rows that damage met leave out are missing in the snapshot. entry: of the series, if it has one.
    """

    snapshot: Snapshot
    damage: list[Damage]
    is_sound: bool
    entry: SeriesEntry | None


def read(
    connection: Connection,
    series: Sequence[SeriesId],
    span: Span,
    as_of: int | None,
    context: int,
    cancelled: Cancelled | None,
    *,
    flags_by: Mapping[SeriesId, bytes],
    is_first: Callable[[SeriesId], bool],
) -> dict[SeriesId, Look]:
    """A look at each series, all of them at one commit.

    On a connection with an open transaction. flags_by: the rules whose flags would do in place of context.
    is_first: whether the index of a series is to be looked through for what damage has hidden.
    """
    if as_of is None and len(series) == 1:
        point, lost, entries = connection.remembered(
            series[0], lambda: (newest(connection), _lost(connection), series_entries(connection, series))
        )
    else:
        point = newest(connection) if as_of is None else commit_at(connection, as_of)
        lost, entries = _lost(connection), None
    at = LIVE if as_of is None else point.tx
    looks: dict[SeriesId, Look] = {}
    at_once = _FROM_A_SERVER if connection.dialect.is_server or connection.elsewhere else _AT_ONCE
    for first in range(0, len(series), at_once):
        some = series[first : first + at_once]
        listed = entries or series_entries(connection, some)
        views = views_of(connection, some, listed, at, lost)
        entry_of = dict(zip(some, listed, strict=True))
        new = [view for view in views if is_first(view.series)]
        unsound = _unsound(new, as_of) if new else set()
        flags = {} if at != LIVE else _flags(views, span, flags_by)
        for view, snapshot in _snapshots(views, point, span, context, cancelled, flags):
            is_sound = view not in unsound and not view.damage
            looks[view.series] = Look(snapshot, view.damage, is_sound, entry_of[view.series])
    return looks


def _lost(connection: Connection) -> frozenset[int]:
    """The row ids of the series that damage has taken anything from."""
    return frozenset(number for (number,) in connection.execute(LOST))


def _snapshots(
    views: Sequence[View],
    point: Point,
    span: Span,
    context: int,
    cancelled: Cancelled | None,
    flags: dict[View, Flags],
) -> Iterator[tuple[View, Snapshot]]:
    contexts = [0 if view in flags else context for view in views]
    assembled = assemble(views, span, contexts, cancelled, as_frame=len(views) > 1)
    for at, view in enumerate(views):
        if view.damage and not contexts[at]:  # flags that were kept know nothing of it
            flags.pop(view, None)
            contexts[at], (assembled[at],) = context, assemble([view], span, [context], cancelled)
    around = [
        records_around(found.rows, view.series.timeframe.step, span, beside)
        for view, found, beside in zip(views, assembled, contexts, strict=True)
    ]
    answers = answers_of(views, around)
    for view, found, records, beside in zip(views, assembled, answers, contexts, strict=True):
        yield (
            view,
            snapshot_of(
                _Known(view.series, records, view.gone()),
                point,
                span,
                found.rows,
                context=beside,
                volume_nulls=found.volume_nulls,
                frame=found.frame,
                flags=flags.get(view),
            ),
        )


@dataclass
class _Known:
    """What was read of a series beside its rows."""

    series: SeriesId
    records: list[CoverageRecord]
    lost: Coverage

    def answers(self, span: Span) -> list[CoverageRecord]:
        return [one for one in self.records if one.start < span.end and one.end > span.start]

    def gone(self) -> Coverage:
        return self.lost


def _flags(views: Sequence[View], span: Span, flags_by: Mapping[SeriesId, bytes]) -> dict[View, Flags]:
    """Those that were kept of the whole span, unless damage has taken anything of the series."""
    if span.is_empty or not flags_by:
        return {}
    wanted = {
        view: Wanted(view.series, view.number, flags_by[view.series])
        for view in views
        if view.series in flags_by and view.number is not None and not view.damage and not view.lost()
    }
    found = of_span(views[0].connection, list(wanted.values()), span)
    return {view: flags for view, flags in zip(wanted, found, strict=True) if flags is not None}


def _unsound(views: Sequence[View], as_of: int | None) -> set[View]:
    """The views of series whose index is not sound; damage that is found is added to theirs."""
    # What is counted is what there is now; what it lacks may have been there at any commit.
    live = [View(view.connection, view.series, view.number, LIVE) for view in views]
    look_for_gaps(live)
    for view, now in zip(views, live, strict=True):
        view.damage += now.damage
    if as_of is None:
        return set()
    is_sound = look_through_history(views)
    look_through_entries(views)
    return {view for view, sound in zip(views, is_sound, strict=True) if not sound}
