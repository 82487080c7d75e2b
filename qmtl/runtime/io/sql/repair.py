"""How damage is written down: lost rows are retired, and their range is unknown until it is healed."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from qmtl.foundation.clock import Clock
from qmtl.foundation.errors import StoreCorruptError
from qmtl.foundation.frames import stamps
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.runtime.io.sql import deliveries, retraction
from qmtl.runtime.io.sql.commits import series_named
from qmtl.runtime.io.sql.database import Database, committing
from qmtl.runtime.io.sql.dialect import LIVE, Connection
from qmtl.runtime.io.sql.index_checks import misplaced
from qmtl.runtime.io.sql.single_rows import Stored, place_of, unpack_single
from qmtl.runtime.io.sql.transaction import Transaction
from qmtl.runtime.io.sql.vanished_rows import covered_bars
from qmtl.runtime.io.sql.view import View
from qmtl.runtime.io.store import coverage_records
from qmtl.runtime.io.store.damage import Damage
from qmtl.runtime.io.store.values import Write, hull

_log = logging.getLogger("seamless.store")


class Lost(NamedTuple):
    """A range that damage has taken, recorded, and neither healed nor acknowledged. `found_at` in ns."""

    series: SeriesId
    span: Span
    why: str
    found_at: int


def record_all(
    database: Database, damage: Sequence[Damage], clock: Clock, *, timeout_s: float | None = None
) -> None:
    """Write damage down, each series in a commit of its own."""
    for series, found in groupby(sorted(damage, key=_series_of), key=_series_of):
        parts = list(found)
        try:
            _record_of_one(database, parts, clock.now(), timeout_s)
        except StoreCorruptError:
            # An index that disagrees with its table can be made anew from it.
            rebuild(database)
            _record_of_one(database, parts, clock.now(), timeout_s)
        for part in parts:
            _log.warning("damage in %s over %s made unknown: %s", series, part.span, part.why)


def _series_of(damage: Damage) -> str:
    return damage.series.text


def _record_of_one(database: Database, parts: Sequence[Damage], now: int, timeout_s: float | None) -> None:
    with committing(database, parts[0].series, now, timeout_s=timeout_s) as transaction:
        if record(transaction, parts):
            transaction.keep()


def rebuild(database: Database) -> None:
    """Put tables and indexes that damage has left out of order into order."""
    with database.writing() as connection:
        connection.dialect.rebuild(connection)
        connection.execute("COMMIT")


def record(transaction: Transaction, found: Sequence[Damage]) -> bool:
    """Take damaged rows of one series out of all versions that hold them; whether any still did.

    Ranges whose current rows are lost become unknown, so that they are asked for again, and are called lost
    until they are answered for. A read as of an earlier commit leaves out the rows and the answers of the
    range. The damaged bytes stay where they are, for nobody knows what else lies on their pages.
    """
    lost = [(taken, damage.why) for damage in found for taken in _take(transaction, damage)]
    if any(damage.chunk is None for damage in found) and _is_out_of_order(transaction):
        lost += [(taken, "single rows are not found by their time") for taken in _take_index(transaction)]
    if not lost and not any(damage.of_index for damage in found):
        return False  # another reader was quicker
    transaction.connection.executemany(
        'INSERT INTO lost (series, start, "end", tx_from, tx_to, found_at, why, covers)'
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            (transaction.number, *one.span, one.tx_from, one.tx_to, transaction.as_of, why, int(one.covers))
            for one, why in lost
        ),
    )
    gone = Coverage(one.span for one, _ in lost if one.tx_to == LIVE)
    if gone:
        for span in Coverage(one.span for one, _ in lost if one.tx_to == LIVE and one.covers):
            # The older row beneath the lost one must not come to light, whatever is answered next.
            retraction.take_rows(transaction, span)
        before = transaction.view.answers(gone.hull)
        transaction.answers(before, coverage_records.without(before, gone))
        for span in gone:
            deliveries.end(transaction.connection, transaction.number, transaction.tx, span)
    transaction.recount()
    transaction.log("repair", hull(damage.span for damage in found))
    return True


def _is_out_of_order(transaction: Transaction) -> bool:
    """Whether a single row is still damaged: no search has found it, so that more may be hidden."""
    connection = transaction.connection
    found = connection.execute(
        f"SELECT 1 FROM hot {connection.dialect.by_scan} WHERE NOT ({connection.dialect.sound['hot']})"
        " AND (series = ? OR coalesce(series, 0) NOT IN (SELECT id FROM series)) LIMIT 1",
        (transaction.number,),
    )
    return found.fetchone() is not None


class Taken(NamedTuple):
    """A range that is lost to the commits `tx_from <= T < tx_to`; covers: see `Damage`."""

    span: Span
    tx_from: int
    tx_to: int
    covers: bool


def _take(transaction: Transaction, damage: Damage) -> Iterator[Taken]:
    """Remove what is damaged from the index; the ranges and versions it stood for."""
    if damage.of_index and damage.covers:
        _forget_misplaced(transaction, None)
        yield Taken(damage.span, 0, transaction.tx, True)
    elif damage.of_index:
        yield from _take_index(transaction)
    elif damage.chunk is not None:
        sound = transaction.connection.dialect.sound["chunk"]
        removed = transaction.connection.execute(
            f"DELETE FROM chunk WHERE id = ? RETURNING tx_from, tx_to, {sound}", (damage.chunk,)
        ).fetchall()
        transaction.connection.execute(
            "UPDATE hot SET over = 0 WHERE series = ? AND tx_to = ? AND ts >= ? AND ts < ?",
            (transaction.number, LIVE, *damage.span),
        )
        for tx_from, tx_to, is_sound in removed:
            # An entry that is damaged itself may have been of any version.
            versions = (tx_from, tx_to) if is_sound else (0, LIVE)
            yield Taken(damage.span, versions[0], versions[1], damage.covers)
    else:
        for versions in _take_single(transaction.connection, transaction.number, damage.span.start):
            yield Taken(damage.span, versions[0], versions[1], damage.covers)
        for versions in _forget_misplaced(transaction, damage.span.start):
            yield Taken(damage.span, versions[0], versions[1], damage.covers)


def _take_single(connection: Connection, number: int, ts: int) -> list[tuple[int, int]]:
    versions = connection.execute(
        f"SELECT tx_from, tx_to, data, {connection.dialect.sound['hot']} FROM hot"
        " WHERE series = ? AND ts = ?",
        (number, ts),
    ).fetchall()
    _, bad = unpack_single(number, [Stored(ts, tx_from, data) for tx_from, _, data, _ in versions])
    current = [position for position, (_, tx_to, _, _) in enumerate(versions) if tx_to == LIVE]
    if len(current) > 1:  # nobody can say which of them holds
        bad = sorted({*bad, *current})
    taken = [versions[position][:2] for position in bad]
    if _forget_single(connection, number, [(ts, *version) for version in taken]) < len(taken):
        # A damaged key is found by a scan only: the tree is out of order.
        connection.dialect.rebuild(connection)
        _forget_single(connection, number, [(ts, *version) for version in taken])
    return [
        # A key that is damaged does not say until when the row held.
        (_first_commit(number, tx_from, data), tx_to if is_sound else LIVE)
        for tx_from, tx_to, data, is_sound in (versions[position] for position in bad)
    ]


def _first_commit(number: int, tx_from: int, data: Any) -> int:
    """Since when a damaged single row may have held: what its key says is not to be believed."""
    place = place_of(number, data)
    return 0 if place is None else min(place[1], tx_from)


def _forget_misplaced(transaction: Transaction, ts: int | None) -> Iterator[tuple[int, int]]:
    """Remove the single rows whose place is damaged and that belong to `ts`, or nobody knows where.

    The versions they may have been of: the current one as well, if one of those is missing.
    """
    connection, number = transaction.connection, transaction.number
    found = connection.execute(
        f"SELECT ts, tx_from, tx_to, data FROM hot {connection.dialect.by_scan}"
        f" WHERE series {connection.dialect.same} ? AND NOT ({connection.dialect.sound['hot']})",
        (number,),
    ).fetchall()
    for *key, data in found:
        place = place_of(number, data)
        if (place is None) if ts is None else (place is not None and place[0] == ts):
            lacks_one = key[2] == LIVE or _lacks_single_rows(connection, number)
            _forget_single(connection, number, [(key[0], key[1], key[2])])
            yield (0 if place is None else place[1]), (LIVE if lacks_one else transaction.tx)


def _lacks_single_rows(connection: Connection, number: int) -> bool:
    # With a sign each key is compared. A search takes one that is too small for what it looks for.
    counted, there = connection.execute(
        "SELECT hot, (SELECT count(*) FROM hot WHERE series = ?1 AND +tx_to = ?2) FROM series WHERE id = ?1",
        (number, LIVE),
    ).fetchone()
    return bool(counted != there)


def _forget_single(connection: Connection, number: int, keys: list[tuple[int, int, int]]) -> int:
    return connection.executemany(
        "DELETE FROM hot WHERE series = ? AND ts = ? AND tx_from = ? AND tx_to = ?",
        ((number, *key) for key in keys),
    ).rowcount


def _take_index(transaction: Transaction) -> Iterator[Taken]:
    """Nobody can say which bars a damaged index has hidden: all without a row are lost.

    So are those with a row that a vanished single row may have lain over.
    """
    connection, number, step = transaction.connection, transaction.number, transaction.series.timeframe.step
    view = View(connection, transaction.series, number, LIVE)
    covered = covered_bars(connection, number, step, (c[:3] for c in view.chunks(-LIVE, LIVE - 1)))
    connection.dialect.rebuild(connection)
    single = connection.execute(
        f"SELECT ts, tx_from, tx_to, data, {connection.dialect.sound['hot']} FROM hot"
        " WHERE series = ? AND tx_to = ?",
        (number, LIVE),
    ).fetchall()
    _, bad = unpack_single(number, [Stored(ts, tx_from, data) for ts, tx_from, _, data, _ in single])
    _forget_single(connection, number, [single[position][:3] for position in bad])
    # A time that is damaged itself is none at which a bar was lost.
    spoilt = [single[position][0] for position in bad if single[position][4]]
    extent = view.extent()  # of what is there, damaged answers among it, but not of times that no row has
    for table in ("chunk", "answer", "facts"):
        unsound = f"NOT ({connection.dialect.sound[table]})"
        connection.execute(f"DELETE FROM {table} WHERE series = ? AND {unsound}", (number,))
    present = EMPTY
    for chunk in view.chunks(-LIVE, LIVE - 1):
        ts = view.load(chunk).ts
        present |= Coverage.from_arrays(ts, ts + step)
    stamps_there = view.hot_stamps()
    newest = Coverage.from_arrays(stamps_there, stamps_there + step)
    covered |= Coverage(Span(ts, ts + step) for ts in spoilt)
    covered -= newest
    for span in covered:
        yield Taken(span, 0, LIVE, True)
    for bar in sorted({bar for bar, _ in misplaced([view])[0] if bar is not None}):
        for tx_from, tx_to in _forget_misplaced(transaction, bar):
            yield Taken(Span(bar, bar + step), tx_from, tx_to, True)
    for span in Coverage.of(extent) - present - newest - covered - view.lost():
        yield Taken(span, 0, LIVE, False)


def heal(transaction: Transaction, write: Write) -> bool:
    """Lost ranges that a write answers for are lost no longer; whether there were any."""
    open_ones = transaction.connection.execute(
        f'SELECT {transaction.connection.dialect.row_id}, start, "end", found_at, why FROM lost'
        " WHERE series = ? AND tx_to = ?",
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
        f'SELECT {transaction.connection.dialect.row_id}, start, "end" FROM lost'
        " WHERE series = ? AND closed IS NULL",
        (transaction.number,),
    ).fetchall()
    for row, *_ in reported:
        _close(transaction, row, "acknowledged")
    if reported:
        transaction.log("repair", hull(Span(*ends) for _, *ends in reported))
    return len(reported)


def _close(transaction: Transaction, row: int, how: str) -> None:
    transaction.connection.execute(
        "UPDATE lost SET closed = ?1, tx_to = CASE WHEN tx_to < ?2 THEN tx_to ELSE ?2 END"
        f" WHERE {transaction.connection.dialect.row_id} = ?3",
        (how, transaction.tx, row),
    )


def reported(connection: Connection) -> list[Lost]:
    """What was lost and is neither healed nor acknowledged, by series and time."""
    found = connection.execute(
        'SELECT node, start, "end", why, found_at FROM lost JOIN series ON series.id = lost.series'
        ' WHERE closed IS NULL ORDER BY node, start, "end"'
    )
    return [Lost(series_named(node), Span(start, end), why, at) for node, start, end, why, at in found]
