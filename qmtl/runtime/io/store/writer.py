"""How a commit comes about: compared and packed first, checked again and applied under the lock."""

from __future__ import annotations

import os
import re
import socket
import sqlite3
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from qmtl.foundation.facts import NOTHING_DECLARED, SeriesFacts, agreed
from qmtl.foundation.frames import TS, VALUES
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.runtime.io.store import answers as answer_algebra
from qmtl.runtime.io.store import facts as declarations
from qmtl.runtime.io.store.base import ALL_TIME, Answer, Write
from qmtl.runtime.io.store.codec import Packed, pack, pack_single
from qmtl.runtime.io.store.damage import Damage
from qmtl.runtime.io.store.parallel import in_parallel
from qmtl.runtime.io.store.reader import View, enter_series, last_commit
from qmtl.runtime.io.store.rows import NO_ROWS, Rows, find, join, overlay, same_values
from qmtl.runtime.io.store.schema import COUNTS, LIVE, PROOF, row_check
from qmtl.runtime.io.store.windows import Window, around, pieces, windows

# A commit that changes fewer rows keeps them apart from the chunks, as hot rows.
FEW = 512
# More hot rows than this are folded into chunks by the commit that meets them.
MANY_HOT = 1_024
_COUNT_EVERY = 64


class DamagedWindowError(Exception):
    """A window cannot be made anew before its damage is recorded."""

    def __init__(self, damage: list[Damage]) -> None:
        super().__init__(damage)
        self.damage = damage


class Difference(NamedTuple):
    """How rows differ from what is stored; `fresh` are those that are new or changed."""

    added: int
    unchanged: int
    old: Rows
    new: Rows
    fresh: Rows
    over: list[bool]  # for each fresh row, whether a chunk holds a row of its stamp


class Plan(NamedTuple):
    """Physical changes of rows, worked out at commit `seen`. `touched` bounds what they rest on."""

    seen: int
    touched: Span | None
    windows: list[Window]
    packed: list[Packed]
    hot: Rows
    over: list[bool]

    @property
    def reach(self) -> Span:
        return self.touched or Span(0, 0)


def compare(view: View, rows: Rows) -> Difference:
    """Sort rows into added, unchanged and changed, one chunk at a time."""
    if not rows.size:
        return Difference(0, 0, NO_ROWS, NO_ROWS, NO_ROWS, [])
    low, high = int(rows.ts[0]), int(rows.ts[-1])
    hot, chunks = view.hot(low, high), view.chunks(low, high)
    if not hot.size and not chunks:
        # A live bar at the end of its series: nothing is there to compare with.
        return Difference(
            rows.size, 0, NO_ROWS, NO_ROWS, rows, [False] * rows.size if rows.size < FEW else []
        )
    same = np.zeros(rows.size, dtype=bool)
    over = np.zeros(rows.size, dtype=bool)
    changed: list[tuple[Rows, Rows]] = []

    def meet(stored: Rows) -> None:
        """Compare with stored rows that lie between the first and the last of ours."""
        if not stored.size:
            return
        first, last = np.searchsorted(rows.ts, [stored.ts[0], stored.ts[-1] + 1]).tolist()
        mine = rows.cut(first, last)
        at = find(stored.ts, mine.ts)
        old, new = (stored, mine) if _all_met(at, stored) else (stored.pick(at[at >= 0]), mine.pick(at >= 0))
        equal = same_values(old, new)
        same[first:last][at >= 0] = equal
        if not equal.any():
            changed.append((old, new))
        elif not equal.all():
            changed.append((old.pick(~equal), new.pick(~equal)))

    for chunk in chunks:
        first, last = np.searchsorted(rows.ts, [chunk.first_ts, chunk.last_ts + 1]).tolist()
        if first == last:
            continue
        stored = view.load(chunk).between(low, high)
        over[first:last] = find(stored.ts, rows.ts[first:last]) >= 0
        meet(stored.pick(find(hot.ts, stored.ts) < 0) if hot.size else stored)
    meet(hot)
    old, new = _in_order([o for o, _ in changed]), _in_order([n for _, n in changed])
    unchanged = int(same.sum())
    fresh = rows if not unchanged else rows.pick(~same)
    return Difference(
        added=rows.size - unchanged - old.size,
        unchanged=unchanged,
        old=old,
        new=new,
        fresh=fresh,
        over=over[~same].tolist() if fresh.size < FEW else [],
    )


def _all_met(at: npt.NDArray[np.intp], stored: Rows) -> bool:
    """Whether our rows are those stored, one by one: the common case, which needs no copies."""
    return len(at) == stored.size and bool((at >= 0).all())


def _in_order(parts: list[Rows]) -> Rows:
    rows = join(parts)
    # Chunks come in order; only single rows that lie between them may not.
    is_sorted = bool((rows.ts[1:] > rows.ts[:-1]).all())
    return rows if is_sorted else rows.pick(np.argsort(rows.ts, kind="stable"))


def plan(view: View, difference: Difference, *, seen: int, fold: bool) -> Plan:
    """Where the fresh rows go. With `fold`, all hot rows go into chunks too.

    Raises `DamagedWindowError` if a chunk that would be rewritten is damaged.
    """
    fresh = difference.fresh
    if fresh.size < FEW and not fold:
        touched = None if not fresh.size else Span(int(fresh.ts[0]), int(fresh.ts[-1]) + 1)
        result = Plan(seen, touched, [], [], fresh, difference.over)
    else:
        fresh = overlay(view.hot(-LIVE, LIVE), fresh) if fold else fresh
        made = windows(around(view, fresh.ts), fresh.ts) if fresh.size else []
        result = rewrite(view, made, fresh, seen=seen)
    if view.damage:
        raise DamagedWindowError(view.damage)
    return result


def rewrite(view: View, made: list[Window], fresh: Rows, *, seen: int) -> Plan:
    """Make windows anew, with `fresh` rows over those that they hold. Check `view.damage` afterwards."""
    if not made:
        return Plan(seen, None, [], [], NO_ROWS, [])
    packed = in_parallel(pack, (piece for window in made for piece in pieces(view, window, fresh)))
    return Plan(seen, Span(made[0].low, made[-1].high + 1), made, list(packed), NO_ROWS, [])


class Transaction:
    """One commit being written, inside `BEGIN IMMEDIATE` and under the lock."""

    def __init__(self, connection: sqlite3.Connection, series: SeriesId, now: int) -> None:
        self.connection = connection
        last, last_time = last_commit(connection)
        self.tx = last + 1
        # Clocks step back; commit times do not.
        self.as_of = max(now, last_time + 1)
        self.number = enter_series(connection, series)
        self.series = series
        self.view = View(connection, series, self.number, LIVE)
        self.committed = False
        # Current chunks, hot rows and answers more than before.
        self._more = [0, 0, 0]

    def too_many_hot(self, fresh: Rows) -> bool:
        """Whether the hot rows should be folded. One bar in 64 counts them, for counting costs time."""
        if not fresh.size or (fresh.size < _COUNT_EVERY and self._bar(fresh) % _COUNT_EVERY):
            return False
        counted = "SELECT count(*) FROM (SELECT 1 FROM hot WHERE series = ? AND tx_to = ? LIMIT ?)"
        (hot,) = self.connection.execute(counted, (self.number, LIVE, MANY_HOT)).fetchone()
        return bool(hot + fresh.size > MANY_HOT)

    def _bar(self, rows: Rows) -> int:
        return int(rows.ts[-1]) // self.series.timeframe.step

    def still_holds(self, made: Plan) -> bool:
        """Whether no commit since the plan was made has touched what it rests on."""
        if made.touched is None:
            return True
        moved = self.connection.execute(
            'SELECT 1 FROM tx WHERE id > ? AND series = ? AND start < ? AND "end" > ? LIMIT 1',
            (made.seen, self.number, made.touched.end, made.touched.start),
        ).fetchone()
        return moved is None

    def apply(
        self, write: Write, difference: Difference, made: Plan, *, healed: bool = False
    ) -> tuple[int, int]:
        """Write and commit all that a write brings; number and time of the commit.

        healed: whether damage was healed by it, which is news as well.

        If nothing of it is new, nothing is written, and the newest commit is the answer.
        """
        self.rows(made, replaces=difference.old.size > 0)
        said = write.answered | write.absent | write.retracted
        spoken = False
        if said:
            before = self.view.answers(said.hull, touching=True)
            spoken = self.answers(before, answer_algebra.overlay(before, write))
        kept_aside = self.quarantine(write)
        declared = write.declared != NOTHING_DECLARED and self._declared_by(write)
        if not (difference.fresh.size or made.windows or spoken or kept_aside or declared or healed):
            self.connection.execute("ROLLBACK")
            return last_commit(self.connection)
        reach = list(said.spans)
        if declared:
            reach.append(ALL_TIME)
        if difference.fresh.size:
            fresh = difference.fresh.ts
            reach.append(Span(int(fresh[0]), int(fresh[-1]) + self.series.timeframe.step))
        if made.touched is not None:
            reach.append(Span(made.touched.start, made.touched.end - 1 + self.series.timeframe.step))
        self.log("write", hull(reach))
        return self.commit()

    def _declared_by(self, write: Write) -> bool:
        """Whether a write declares what the store did not know. Raises where it knows otherwise."""
        stored = self.view.facts()
        facts = agreed(self.series, [("the store", stored), (f"what {write.source} brings", write.declared)])
        if facts != (stored or NOTHING_DECLARED):
            self.declare(facts)
            return True
        return False

    def declare(self, facts: SeriesFacts) -> None:
        """Replace what is declared of the series."""
        declarations.replace(self.connection, self.number, self.tx, facts)

    def commit(self) -> tuple[int, int]:
        """Make it durable; number and time of the commit."""
        if any(self._more):
            # Whoever reads the series can tell by these whether a part of it has vanished.
            self.connection.execute(_COUNT_MORE, (*self._more, self.number))
        self.connection.execute("COMMIT")
        self.committed = True
        return self.tx, self.as_of

    def recount(self) -> None:
        """Count anew what the series has now."""
        self._more = [0, 0, 0]
        self.connection.execute(
            f"UPDATE series AS series_of SET (chunks, hot, answers) = (SELECT {COUNTS}) WHERE id = ?",
            (self.number,),
        )
        self.connection.execute(f"UPDATE series SET crc = {PROOF['series']} WHERE id = ?", (self.number,))

    def rows(self, made: Plan, *, replaces: bool = True) -> None:
        """Apply a plan: retire chunks and hot rows, insert those that replace them.

        replaces: whether any of the plan's hot rows may lie over another.
        """
        execute, many = self.connection.execute, self.connection.executemany
        for window in made.windows:
            many(_RETIRE_CHUNK, ((self.tx, chunk.id) for chunk in window.chunks))
            hot = execute(
                "UPDATE hot SET tx_to = ? WHERE series = ? AND tx_to = ? AND ts BETWEEN ? AND ?",
                (self.tx, self.number, LIVE, window.low, window.high),
            )
            self._more[0] -= len(window.chunks)
            self._more[1] -= hot.rowcount
        first = next_chunk(self.connection) if made.packed else 0
        for number, packed in enumerate(made.packed, first):
            row = (number, self.number, *packed[:5], self.tx, LIVE)
            execute(_INSERT_CHUNK, (*row, len(packed.blob), row_check(*row)))
            execute("INSERT INTO blob (chunk, data) VALUES (?, ?)", (number, packed.blob))
        self._more[0] += len(made.packed)
        if made.hot.size:
            stamps = made.hot.ts.tolist()
            if replaces:
                replaced = many(
                    "UPDATE hot SET tx_to = ? WHERE series = ? AND tx_to = ? AND ts = ?",
                    ((self.tx, self.number, LIVE, ts) for ts in stamps),
                )
                self._more[1] -= replaced.rowcount
            self._more[1] += len(stamps)
            many(
                "INSERT INTO hot (series, tx_to, ts, tx_from, over, data) VALUES (?, ?, ?, ?, ?, ?)",
                (
                    (self.number, LIVE, ts, self.tx, over, data)
                    for ts, over, data in zip(
                        stamps, made.over, pack_single(made.hot, self.number, self.tx), strict=True
                    )
                ),
            )

    def answers(self, before: list[Answer], after: list[Answer]) -> bool:
        """Replace one list of answers by another; whether they differ."""
        old, new = set(before), set(after)
        retired = [(self.tx, self.number, LIVE, a.end, a.start) for a in before if a not in new]
        added = [
            (self.number, LIVE, a.end, a.start, self.tx, a.said, a.source, a.checked_at, a.expires_at)
            for a in after
            if a not in old
        ]
        self.connection.executemany(_RETIRE_ANSWER, retired)
        self.connection.executemany(_INSERT_ANSWER, added)
        self._more[2] += len(added) - len(retired)
        return old != new

    def quarantine(self, write: Write) -> bool:
        """Keep impossible rows aside; whether any is new. The same row, rule and source is kept once."""
        frame = write.quarantine
        if frame is None or not frame.height:
            return False
        added = 0
        for ts, values, rule in zip(
            frame["ts"].to_physical(), frame.select(VALUES).iter_rows(), frame["rule"], strict=True
        ):
            # SQLite turns NaN into null; quarantine keeps what came, so NaN is kept by name.
            values = tuple("nan" if value != value else value for value in values)
            kept = (self.number, ts, *values, rule, write.source)
            added += self.connection.execute(
                "INSERT INTO quarantine SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11"
                " WHERE NOT EXISTS (SELECT 1 FROM quarantine"
                " WHERE series = ?1 AND ts IS ?2 AND open IS ?3 AND high IS ?4 AND low IS ?5"
                " AND close IS ?6 AND volume IS ?7 AND rule = ?8 AND source = ?9)",
                (*kept, write.checked_at, self.tx),
            ).rowcount
        return added > 0

    def log(self, kind: str, touched: Span) -> None:
        """Enter the commit into the list of commits."""
        self.connection.execute(
            _INSERT_TX, (self.tx, self.as_of, kind, _writer(), self.number, touched.start, touched.end)
        )


def next_chunk(connection: sqlite3.Connection) -> int:
    """A number that no chunk has, and none had whose bytes are still there: damaged bytes are never freed."""
    found = connection.execute(
        "SELECT max(coalesce((SELECT max(id) FROM chunk), 0), coalesce((SELECT max(chunk) FROM blob), 0))"
    ).fetchone()
    return int(found[0]) + 1


def _with_proof(table: str, **changed: str) -> str:
    """The proof of a row as it is after `SET column = expression`."""
    proof = PROOF[table]
    for column, value in changed.items():
        proof = re.sub(rf"(?<=[ (]){column}(?=[,)])", value, proof)
    return proof


_INSERT_CHUNK = (
    "INSERT INTO chunk (id, series, first_ts, last_ts, rows, codec, checksum, tx_from, tx_to, bytes, crc)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_RETIRE_CHUNK = f"UPDATE chunk SET tx_to = ?1, crc = {_with_proof('chunk', tx_to='?1')} WHERE id = ?2"
_INSERT_ANSWER = (
    'INSERT INTO answer (series, tx_to, "end", start, tx_from, said, source, checked_at, expires_at, crc)'
    " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9,"
    " row_check(?1, ?2, ?3, ?4, ?5, CAST(?6 AS BLOB), CAST(?7 AS BLOB), ?8, ?9))"
)
_RETIRE_ANSWER = (
    f"UPDATE answer SET tx_to = ?1, crc = {_with_proof('answer', tx_to='?1')}"
    ' WHERE series = ?2 AND tx_to = ?3 AND "end" = ?4 AND start = ?5'
)
_INSERT_TX = "INSERT INTO tx VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, row_check(?1, ?2, ?5, ?6, ?7))"
_COUNT_MORE = (
    "UPDATE series SET chunks = chunks + ?1, hot = hot + ?2, answers = answers + ?3, crc = "
    + _with_proof("series", chunks="chunks + ?1", hot="hot + ?2", answers="answers + ?3")
    + " WHERE id = ?4"
)


def hull(spans: Iterable[Span]) -> Span:
    """The smallest span around all; empty if there are none."""
    spans = list(spans)
    return Span(min(s.start for s in spans), max(s.end for s in spans)) if spans else Span(0, 0)


def _writer() -> str:
    return f"{_HOST}:{os.getpid()}"


_HOST = socket.gethostname()


_VALUE_PAIRS = [(side, name) for side in ("old", "new") for name in VALUES]
_NOTHING_REPLACED = pl.DataFrame(schema={"ts": TS, **{f"{s}_{n}": pl.Float64() for s, n in _VALUE_PAIRS}})


def replaced_frame(old: Rows, new: Rows) -> pl.DataFrame:
    """Columns `ts`, `old_open` ... `old_volume`, `new_open` ... `new_volume`."""
    if not old.size:
        return _NOTHING_REPLACED.clone()
    columns = [pl.Series("ts", old.ts).cast(TS)]
    for (side, name), values in zip(_VALUE_PAIRS, [*old[1:], *new[1:]], strict=True):
        # Only a volume may be missing: see `Rows`.
        columns.append(pl.Series(f"{side}_{name}", values, nan_to_null=name == "volume"))
    return pl.DataFrame(columns)
