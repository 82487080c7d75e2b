"""How damage is written down: lost rows are retired, and their range is unknown until it is healed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from qmtl.foundation.frames import stamps
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.runtime.io.store import answers as answer_algebra
from qmtl.runtime.io.store.base import Write
from qmtl.runtime.io.store.codec import Stored, unpack_single
from qmtl.runtime.io.store.damage import Damage
from qmtl.runtime.io.store.reader import View
from qmtl.runtime.io.store.schema import LIVE, SOUND
from qmtl.runtime.io.store.writer import Transaction, hull


class Lost(NamedTuple):
    """A range that damage has taken, recorded, and neither healed nor acknowledged. `found_at` in ns."""

    series: SeriesId
    span: Span
    why: str
    found_at: int


def record(transaction: Transaction, found: Sequence[Damage]) -> bool:
    """Take damaged rows of one series out of all versions that hold them; whether any still did.

    Ranges whose current rows are lost become unknown, so that they are asked for again, and are called lost
    until they are answered for. A read as of an earlier commit leaves out the rows and the answers of the
    range. The damaged bytes stay where they are, for nothing can be said of the pages that they lie on.
    """
    lost = [
        (span, tx_from, tx_to, damage.why)
        for damage in found
        for span, tx_from, tx_to in _take(transaction, damage)
    ]
    if not lost and not any(damage.of_index for damage in found):
        return False  # another reader was quicker
    transaction.connection.executemany(
        'INSERT INTO lost (series, start, "end", tx_from, tx_to, found_at, why) VALUES (?, ?, ?, ?, ?, ?, ?)',
        ((transaction.number, *span, *versions, transaction.as_of, why) for span, *versions, why in lost),
    )
    gone = Coverage(span for span, _, tx_to, _ in lost if tx_to == LIVE)
    if gone:
        before = transaction.view.answers(gone.hull)
        transaction.answers(before, answer_algebra.without(before, gone))
    transaction.recount()
    transaction.log("repair", hull(damage.span for damage in found))
    return True


def _take(transaction: Transaction, damage: Damage) -> Iterator[tuple[Span, int, int]]:
    """Remove what is damaged from the index; the ranges and versions it stood for."""
    if damage.of_index:
        yield from _take_index(transaction)
    elif damage.chunk is not None:
        removed = transaction.connection.execute(
            f"DELETE FROM chunk WHERE id = ? RETURNING tx_from, tx_to, {SOUND['chunk']}", (damage.chunk,)
        ).fetchall()
        transaction.connection.execute(
            "UPDATE hot SET over = 0 WHERE series = ? AND tx_to = ? AND ts >= ? AND ts < ?",
            (transaction.number, LIVE, *damage.span),
        )
        for tx_from, tx_to, is_sound in removed:
            # An entry that is damaged itself may have been of any version.
            yield damage.span, tx_from if is_sound else 0, tx_to if is_sound else LIVE
    else:
        for tx_from, tx_to in _take_single(transaction.connection, transaction.number, damage.span.start):
            yield damage.span, tx_from, tx_to


def _take_single(connection: sqlite3.Connection, number: int, ts: int) -> list[tuple[int, int]]:
    versions = connection.execute(
        "SELECT tx_from, tx_to, data FROM hot WHERE series = ? AND ts = ?", (number, ts)
    ).fetchall()
    _, bad = unpack_single(number, [Stored(ts, tx_from, data) for tx_from, _, data in versions])
    taken = [versions[position][:2] for position in bad]
    if _forget_single(connection, number, [(ts, *version) for version in taken]) < len(taken):
        # A damaged key is found by a scan only: the tree is out of order.
        rebuild(connection)
        _forget_single(connection, number, [(ts, *version) for version in taken])
    return taken


def _forget_single(connection: sqlite3.Connection, number: int, keys: list[tuple[int, int, int]]) -> int:
    return connection.executemany(
        "DELETE FROM hot WHERE series = ? AND ts = ? AND tx_from = ? AND tx_to = ?",
        ((number, *key) for key in keys),
    ).rowcount


def _take_index(transaction: Transaction) -> Iterator[tuple[Span, int, int]]:
    """Nobody can say which bars a damaged index has hidden: all without a row are lost."""
    connection, number = transaction.connection, transaction.number
    rebuild(connection)
    single = connection.execute(
        "SELECT ts, tx_from, tx_to, data FROM hot WHERE series = ? AND tx_to = ?", (number, LIVE)
    ).fetchall()
    _, bad = unpack_single(number, [Stored(ts, tx_from, data) for ts, tx_from, _, data in single])
    _forget_single(connection, number, [single[position][:3] for position in bad])
    view = View(connection, transaction.series, number, LIVE)
    extent = view.extent()  # of what is there, damaged answers among it, but not of times that no row has
    for table in ("chunk", "answer", "facts"):
        connection.execute(f"DELETE FROM {table} WHERE series = ? AND NOT ({SOUND[table]})", (number,))
    step = transaction.series.timeframe.step
    present = EMPTY
    for chunk in view.chunks(-LIVE, LIVE - 1):
        ts = view.load(chunk).ts
        present |= Coverage.from_arrays(ts, ts + step)
    ts = view.hot_stamps()
    present |= Coverage.from_arrays(ts, ts + step)
    for span in Coverage.of(extent) - present - view.lost():
        yield span, 0, LIVE


def rebuild(connection: sqlite3.Connection) -> None:
    """Put the rows of each ordered table in order again: into a tree out of order, rows go twice.

    A scan needs no order. Rows that cannot be any, rows of a key that is there already, and chunks of a
    series that does not exist are dropped; the counts of their series tell that they are gone.
    """
    connection.execute("REINDEX")
    connection.execute("DELETE FROM chunk WHERE series NOT IN (SELECT id FROM series)")
    for table in ("hot", "answer", "facts"):
        connection.execute(f"CREATE TEMP TABLE scanned AS SELECT * FROM {table}")
        connection.execute(f"DELETE FROM {table}")
        connection.execute(f"INSERT OR IGNORE INTO {table} SELECT * FROM scanned")
        connection.execute("DROP TABLE scanned")
    # What a search did not find was written once more: the newer one counts.
    connection.execute(
        "DELETE FROM hot WHERE tx_to = ?1 AND EXISTS (SELECT 1 FROM hot AS newer WHERE newer.tx_to = ?1"
        " AND newer.series = hot.series AND newer.ts = hot.ts AND newer.tx_from > hot.tx_from)",
        (LIVE,),
    )


def heal(transaction: Transaction, write: Write) -> bool:
    """Lost ranges that a write answers for are lost no longer; whether there were any."""
    open_ones = transaction.connection.execute(
        'SELECT rowid, start, "end", found_at, why FROM lost WHERE series = ? AND tx_to = ?',
        (transaction.number, LIVE),
    ).fetchall()
    if not open_ones:
        return False
    ts = stamps(write.frame)
    rows = Coverage.from_arrays(ts, ts + transaction.series.timeframe.step)
    answered = rows | ((write.answered | write.absent) - write.retracted)
    any_healed = False
    for row, start, end, found_at, why in open_ones:
        whole = Coverage.of(Span(start, end))
        left = whole - answered
        if left == whole:
            continue
        any_healed = True
        _close(transaction, row, "healed")
        transaction.connection.executemany(
            'INSERT INTO lost (series, start, "end", tx_from, tx_to, found_at, why)'
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            ((transaction.number, *span, transaction.tx, LIVE, found_at, why) for span in left),
        )
    return any_healed


def acknowledge(transaction: Transaction) -> int:
    """Report the lost ranges of the series no longer; how many there were. They stay unknown."""
    reported = transaction.connection.execute(
        'SELECT rowid, start, "end" FROM lost WHERE series = ? AND closed IS NULL', (transaction.number,)
    ).fetchall()
    for row, *_ in reported:
        _close(transaction, row, "acknowledged")
    if reported:
        transaction.log("repair", hull(Span(*ends) for _, *ends in reported))
    return len(reported)


def _close(transaction: Transaction, row: int, how: str) -> None:
    transaction.connection.execute(
        "UPDATE lost SET closed = ?, tx_to = min(tx_to, ?) WHERE rowid = ?", (how, transaction.tx, row)
    )


def reported(connection: sqlite3.Connection) -> list[Lost]:
    """What was lost and is neither healed nor acknowledged, by series and time."""
    found = connection.execute(
        'SELECT node, start, "end", why, found_at FROM lost JOIN series ON series.id = lost.series'
        ' WHERE closed IS NULL ORDER BY node, start, "end"'
    )
    return [Lost(SeriesId.parse(node), Span(start, end), why, at) for node, start, end, why, at in found]
