"""What appends add to the tables, written for all of them table by table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

from qmtl.runtime.io.sql import kept_flags, transaction
from qmtl.runtime.io.sql.appends import Append
from qmtl.runtime.io.sql.dialect import LIVE, Connection
from qmtl.runtime.io.sql.single_rows import pack_each
from qmtl.runtime.io.store.values import Point


class NotAsPresumedError(Exception):
    """The tables are not what appends say that they were before. Nothing of the transaction may be kept."""


def write_all(connection: Connection, made: Sequence[tuple[Point, Append]]) -> None:
    """Write appends, each as the commit of its point. Raises `NotAsPresumedError`."""
    if connection.dialect.checksum is None:
        _write(connection, made)
    else:
        _write_proven(connection, made, connection.dialect.checksum)
    kept_flags.make_void(connection, [(one.number, one.touched) for _, one in made])


def _write(connection: Connection, made: Sequence[tuple[Point, Append]]) -> None:
    """Rows without checksums."""
    dialect, many = connection.dialect, connection.queue
    packed = iter(pack_each((one.rows, one.number, point.tx) for point, one in made))
    single = [
        (one.number, LIVE, ts, point.tx, 0, next(packed))
        for point, one in made
        for ts in one.rows.ts.tolist()
    ]
    many(dialect.insert_hot, single)
    many(
        dialect.retire_record,
        [(point.tx, one.number, LIVE, old.end, old.start) for point, one in made for old in one.retired],
    )
    many(
        dialect.insert_record,
        [
            (one.number, LIVE, a.end, a.start, point.tx, a.outcome, a.source, a.checked_at, a.expires_at)
            for point, one in made
            for a in one.added
        ],
    )
    many(
        dialect.insert_delivery,
        [(one.number, LIVE, ts, point.tx, at) for point, one in made for ts, at in one.delivered_at.items()],
    )
    many(
        dialect.count_more,
        [
            (
                0,
                one.rows.size,
                len(one.added) - len(one.retired),
                one.rows.size + len(one.added),
                one.number,
            )
            for _, one in made
        ],
    )
    writer = transaction.writer()
    many(
        dialect.insert_commit,
        [(*point, "write", writer, one.number, *one.touched) for point, one in made],
    )


def _write_proven(
    connection: Connection, made: Sequence[tuple[Point, Append]], checksum: Callable[[bytes], int]
) -> None:
    """Rows with the checksums of `Dialect.proofs`, for which the engine would call back for each of them.

    A row that is changed is not read: its checksum is that of what it is known to be. So whatever else stands
    there is as little proven as it was before.
    """
    writer = transaction.writer()
    by_us = _quoted(writer)
    packed = iter(pack_each((one.rows, one.number, point.tx) for point, one in made))
    hot, ended, begun, delivered, counted, listed = [], [], [], [], [], []
    for (tx, as_of), one in made:
        number, before = one.number, one.before
        stamps = one.rows.ts.tolist()
        for ts in stamps:
            crc = checksum(_HOT % (number, ts, tx))
            hot.append((number, ts, tx, crc, next(packed)))
        for record, since in zip(before.records, before.since, strict=True):
            if record in one.retired:
                start, end, outcome, source, checked_at, until = record
                words = _words(outcome, source)
                crc = checksum(_RECORD % (number, tx, end, start, since, words, checked_at, until))
                ended.append((tx, crc, number, end, start, since))
        for start, end, outcome, source, checked_at, until in one.added:
            words = _words(outcome, source)
            crc = checksum(_RECORD % (number, LIVE, end, start, tx, words, checked_at, until))
            begun.append((number, end, start, tx, outcome, source, checked_at, until, crc))
        for ts, at in one.delivered_at.items():
            crc = checksum(_DELIVERY % (number, ts, tx, at))
            delivered.append((number, ts, tx, at, crc))
        chunks, answers, versions = one.counts
        crc = checksum(
            b"(%d, %s, %d, %d, %d, %d)" % (number, _quoted(one.node), chunks, one.hot, answers, versions)
        )
        counted.append((one.hot, answers, versions, crc, number, before.hot, *before.counts))
        start, end = one.touched
        crc = checksum(b"(%d, %d, b'write', %s, %d, %d, %d)" % (tx, as_of, by_us, number, start, end))
        listed.append((tx, as_of, writer, number, start, end, crc))
    many = connection.executemany
    many(_INSERT_HOT, hot)
    ends = many(_END_RECORD, ended).rowcount if ended else 0
    many(_INSERT_RECORD, begun)
    if delivered:
        many(_INSERT_DELIVERY, delivered)
    if (ends, many(_COUNT, counted).rowcount) != (len(ended), len(counted)):
        raise NotAsPresumedError
    many(_INSERT_COMMIT, listed)


@lru_cache(maxsize=65_536)
def _quoted(text: str) -> bytes:
    """As Python writes the bytes of a text."""
    return repr(text.encode()).encode()


@lru_cache(maxsize=1_024)
def _words(*texts: str) -> bytes:
    return b", ".join(map(_quoted, texts))


# The columns of `PROVEN`, in that order, as Python writes a tuple of them.
_HOT = b"(%%d, %d, %%d, %%d, 0)" % LIVE
_RECORD = b"(%d, %d, %d, %d, %d, %s, %d, %a)"
_DELIVERY = b"(%%d, %d, %%d, %%d, %%d)" % LIVE

_INSERT_HOT = (
    f"INSERT INTO hot (series, tx_to, ts, tx_from, over, crc, data) VALUES (?1, {LIVE}, ?2, ?3, 0, ?4, ?5)"
)
# By its whole key, so that no other row is looked for.
_END_RECORD = (
    f"UPDATE answer SET tx_to = ?1, crc = ?2 WHERE series = ?3 AND tx_to = {LIVE}"
    ' AND "end" = ?4 AND start = ?5 AND tx_from = ?6'
)
_INSERT_RECORD = (
    'INSERT INTO answer (series, tx_to, "end", start, tx_from, said, source, checked_at, expires_at, crc)'
    f" VALUES (?1, {LIVE}, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"
)
_INSERT_DELIVERY = (
    "INSERT INTO delivery (series, tx_to, ts, tx_from, delivered_at, crc)"
    f" VALUES (?1, {LIVE}, ?2, ?3, ?4, ?5)"
)
_COUNT = (
    "UPDATE series SET hot = ?1, answers = ?2, versions = ?3, crc = ?4"
    " WHERE id = ?5 AND hot = ?6 AND chunks = ?7 AND answers = ?8 AND versions = ?9"
)
_INSERT_COMMIT = (
    'INSERT INTO tx (id, committed_at, kind, writer, series, start, "end", crc)'
    " VALUES (?1, ?2, 'write', ?3, ?4, ?5, ?6, ?7)"
)
