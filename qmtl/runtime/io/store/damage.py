"""What damage a reader has met, and what it hides from those who stand beside it."""

from __future__ import annotations

from typing import NamedTuple

from qmtl.foundation.errors import StoreCorruptError
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import EMPTY, Coverage, Int64Array, Span
from qmtl.foundation.words import counted


class Damage(NamedTuple):
    """Rows that cannot be read: a chunk, a single row (`chunk` is None then), or a part of the index.

    of_index: whether entries of the index are damaged, so that any bar of `span` without a row may be lost.
    covers: whether older rows may lie beneath what is lost: no row of `span` is to be believed.
    over: the same, of the part of `span` where a row that the index has hidden may have been.
    """

    series: SeriesId
    span: Span
    chunk: int | None
    why: str
    of_index: bool = False
    covers: bool = False
    over: Coverage = EMPTY


def nearest_context(ts: Int64Array, low: int, high: int, span: Span, gone: Coverage) -> tuple[int, int]:
    """The part of `ts[low:high]` around `span` that no lost range separates from it.

    Beyond a lost range lie other rows than the true neighbours, and nobody may judge by them.
    """
    before = [min(lost.end, span.start) for lost in gone if lost.start < span.start]
    after = [max(lost.start, span.end) for lost in gone if lost.end > span.end]
    if before:
        low = max(low, int(ts.searchsorted(max(before))))
    if after:
        high = min(high, int(ts.searchsorted(min(after))))
    return low, high


def corrupt(
    series: SeriesId,
    damaged: Coverage,
    *,
    what: str,
    span: Span | None = None,
    path: object = None,
    why: str | None = None,
    next_step: str | None = None,
) -> StoreCorruptError:
    """The error of an answer that damage has taken a part of."""
    shown, more = ", ".join(map(str, damaged.spans[:3])), len(damaged) - 3
    if more > 0:
        shown += f" and {counted(more, 'more span')}"
    return StoreCorruptError(
        f"the store is damaged in {shown}: {what}",
        damaged=damaged,
        series=series,
        span=span,
        path=path,
        why=why or "stored bytes do not match their checksums; nothing of these ranges can be read",
        next_step=next_step
        or "fetch the range again where a vendor serves it, or bring the store back from a backup "
        "(`qmtl store restore`); `qmtl store verify` names all damage; `partial_ok=True` leaves it out",
    )
