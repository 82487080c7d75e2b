"""Reading several series as a loop over the verb for one: for a store that does no better."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.runtime.io.store.contract import BarReader
from qmtl.runtime.io.store.values import Snapshot


def read_each(
    store: BarReader,
    series: Iterable[SeriesId],
    span: Span,
    *,
    as_of: int | None,
    context: int,
    cancelled: Callable[[], bool] | None,
    flags_by: Mapping[SeriesId, bytes] | None = None,
) -> dict[SeriesId, Snapshot]:
    """See `BarReader.read_many`: all at the commit that the first one was read at."""
    found: dict[SeriesId, Snapshot] = {}
    for one in dict.fromkeys(series):
        # Whoever reads all at the commit of the first reads the past, of which no flags are kept.
        by = flags_by.get(one) if flags_by and as_of is None else None
        found[one] = store.read(one, span, as_of=as_of, context=context, cancelled=cancelled, flags_by=by)
        as_of = found[one].as_of if as_of is None else as_of
    return found
