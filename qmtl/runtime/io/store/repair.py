"""How damage is written down: lost rows are retired, and nothing claims to know their range any more."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from qmtl.foundation.timeline import Coverage
from qmtl.runtime.io.store import answers as answer_algebra
from qmtl.runtime.io.store.codec import unpack_single
from qmtl.runtime.io.store.reader import Damage
from qmtl.runtime.io.store.schema import LIVE
from qmtl.runtime.io.store.writer import Transaction, hull


def record(transaction: Transaction, found: Sequence[Damage]) -> bool:
    """Take damaged rows of one series out of all versions that hold them; whether any still did.

    Ranges whose current rows are lost become unknown, so that they are asked for again. A read as of an
    earlier commit leaves out the rows and the answers of the range. The damaged bytes stay where they are,
    for nothing can be said of the pages that they lie on.
    """
    connection = transaction.connection
    lost_now = []
    taken = False
    for damage in found:
        for tx_from, tx_to in _take(connection, transaction.number, damage):
            taken = True
            if tx_to == LIVE:
                lost_now.append(damage.span)
            connection.execute(
                "INSERT INTO lost VALUES (?, ?, ?, ?, ?, ?)",
                (transaction.number, *damage.span, tx_from, min(tx_to, transaction.tx), transaction.as_of),
            )
    if not taken:
        return False
    if lost_now:
        gone = Coverage(lost_now)
        before = transaction.view.answers(gone.hull)
        transaction.answers(before, answer_algebra.without(before, gone))
    transaction.log("repair", hull(damage.span for damage in found))
    return True


def _take(connection: sqlite3.Connection, number: int, damage: Damage) -> list[tuple[int, int]]:
    """Remove what is damaged from the index; the versions it stood for."""
    if damage.chunk is not None:
        removed = connection.execute(
            "DELETE FROM chunk WHERE id = ? RETURNING tx_from, tx_to", (damage.chunk,)
        ).fetchall()
        connection.execute(
            "UPDATE hot SET over = 0 WHERE series = ? AND tx_to = ? AND ts >= ? AND ts < ?",
            (number, LIVE, *damage.span),
        )
        return removed
    versions = connection.execute(
        "SELECT tx_from, tx_to, data FROM hot WHERE series = ? AND ts = ?", (number, damage.span.start)
    ).fetchall()
    _, bad = unpack_single([data for *_, data in versions])
    for position in bad:
        connection.execute(
            "DELETE FROM hot WHERE series = ? AND ts = ? AND tx_from = ? AND tx_to = ?",
            (number, damage.span.start, *versions[position][:2]),
        )
    return [versions[position][:2] for position in bad]
