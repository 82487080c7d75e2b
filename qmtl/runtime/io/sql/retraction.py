"""How bars become unknown again: their rows and coverage records end with one commit, which says why."""

from __future__ import annotations

from qmtl.foundation.timeline import Coverage, Span
from qmtl.runtime.io.sql import deliveries
from qmtl.runtime.io.sql.plans import DamagedWindowError, Plan, packed_at
from qmtl.runtime.io.sql.rewrite_plan import Window
from qmtl.runtime.io.sql.transaction import Transaction
from qmtl.runtime.io.sql.view import View
from qmtl.runtime.io.store import coverage_records
from qmtl.runtime.io.store.rows import NO_ROWS, join, overlay
from qmtl.runtime.io.store.values import Retraction


def retract(transaction: Transaction, span: Span, reason: str) -> Retraction:
    """See `BarWriter.retract`. Raises `DamagedWindowError` if a chunk across an end is damaged."""
    view = transaction.view
    made, count = _plan(view, span, seen=transaction.tx - 1)
    before = view.answers(span)
    after = coverage_records.without(before, Coverage.of(span))
    if view.damage:
        raise DamagedWindowError(view.damage)
    if not count and before == after:
        transaction.nothing_new()
        return Retraction(transaction.before.as_of, 0, changed=False)
    transaction.rows(made)
    transaction.answers(before, after)
    transaction.log("retract", span)
    transaction.connection.execute("INSERT INTO reason (tx, reason) VALUES (?, ?)", (transaction.tx, reason))
    deliveries.end(transaction.connection, transaction.number, transaction.tx, span)
    return Retraction(transaction.keep().as_of, count, changed=True)


def take_rows(transaction: Transaction, span: Span) -> None:
    """Take the rows of a span away, and leave answers as they are. A damaged chunk there will go whole."""
    view = transaction.view
    known = len(view.damage)
    made, _ = _plan(view, span, seen=transaction.tx - 1)
    if len(view.damage) == known:
        transaction.rows(made)


def _plan(view: View, span: Span, *, seen: int) -> tuple[Plan, int]:
    """One window around the span, made anew from what lies beside it; how many rows go.

    Only a chunk that lies across an end is read: however long the span is, two chunks are in memory.
    """
    low, high = span.start, span.end - 1
    chunks = view.chunks(low, high)
    hot = view.hot(low, high)
    if span.is_empty or not (chunks or hot.size):
        return Plan(seen, None, [], [], NO_ROWS, []), 0
    first = min(low, chunks[0].first_ts) if chunks else low
    last = max(high, chunks[-1].last_ts) if chunks else high
    across = [chunk for chunk in chunks if chunk.first_ts < low or chunk.last_ts > high]
    loaded = {chunk.id: view.load(chunk) for chunk in across}
    gone = sum(loaded[c.id].between(low, high).size if c in across else c.rows for c in chunks)
    gone += hot.size - view.hot_over(low, high)  # a single row over one of a chunk is counted once
    stored = join(list(loaded.values()))
    beside = [
        overlay(stored.between(*ends), view.hot(*ends)) for ends in ((first, low - 1), (high + 1, last))
    ]
    window = Window(tuple(chunks), first, last)
    packed, numbers, parts = packed_at(view, (rows for rows in beside if rows.size))
    return Plan(seen, Span(first, last + 1), [window], packed, NO_ROWS, [], numbers, parts), gone
