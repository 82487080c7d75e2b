"""One commit of a series being written: rows, coverage records, quarantine and facts."""

from __future__ import annotations

import os
import socket
from itertools import count

from qmtl.foundation.facts import NOTHING_DECLARED, SeriesFacts, agreed
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.runtime.io.sql import deliveries, fences, kept_flags
from qmtl.runtime.io.sql import facts as declarations
from qmtl.runtime.io.sql.commits import add_series, series_number
from qmtl.runtime.io.sql.dialect import LIVE, Connection
from qmtl.runtime.io.sql.kept_aside import keep_aside
from qmtl.runtime.io.sql.plans import Plan
from qmtl.runtime.io.sql.single_rows import pack_single
from qmtl.runtime.io.sql.view import View
from qmtl.runtime.io.store import coverage_records
from qmtl.runtime.io.store.difference import Difference
from qmtl.runtime.io.store.point_in_time import following
from qmtl.runtime.io.store.rows import Rows
from qmtl.runtime.io.store.values import ALL_TIME, CoverageRecord, Point, Write, hull, span_of_refused

# More hot rows than this are folded into chunks by the commit that meets them.
MANY_HOT = 1_024
_COUNT_EVERY = 64


class Transaction:
    """One commit of a series being written, on a connection inside a transaction and under the lock of all
    writers. `committing` makes it durable, alone or with the commits of other series.
    """

    def __init__(
        self, connection: Connection, series: SeriesId, now: int, before: Point, *, is_new: bool = False
    ) -> None:
        """before: the newest commit. is_new: whether the store is known to lack the series."""
        self.connection = connection
        self.before = before
        self.tx, self.as_of = following(self.before, now)
        known = None if is_new else series_number(connection, series)
        self.number = add_series(connection, series) if known is None else known
        self._entered = known is None
        self.series = series
        self.view = View(connection, series, self.number, LIVE)
        self.is_kept = False
        # Current chunks, hot rows and answers more than before; and versions of any of them.
        self._more = [0, 0, 0, 0]

    def too_many_hot(self, fresh: Rows) -> bool:
        """Whether the hot rows should be folded. One bar in 64 counts them, for counting costs time."""
        if not counts_hot(self.series, fresh):
            return False
        counted = "SELECT count(*) FROM (SELECT 1 FROM hot WHERE series = ? AND tx_to = ? LIMIT ?) AS few"
        (hot,) = self.connection.execute(counted, (self.number, LIVE, MANY_HOT)).fetchone()
        return bool(hot + fresh.size > MANY_HOT)

    def apply(self, write: Write, difference: Difference, made: Plan, *, healed: bool = False) -> Point:
        """Write all that a write brings; the commit that holds it.

        healed: whether damage was healed by it, which is news as well.

        If nothing of it is new, nothing is written, and the newest commit is the answer.
        """
        fences.refuse_stale(self.connection, self.series, self.number, write.fences)
        self.rows(made, replaces=difference.old.size > 0)
        if difference.old.size or write.delivered_at:
            deliveries.replace(self.connection, self.number, self.tx, difference, write.delivered_at)
        spoken = False
        if write.covered:
            before = self.view.answers(write.covered.hull, touching=True)
            spoken = self.answers(before, coverage_records.overlay(before, write))
        kept_aside = keep_aside(self.connection, self.number, write, self.tx)
        declared = write.declared != NOTHING_DECLARED and self._declared_by(write)
        if not (difference.fresh.size or made.windows or spoken or kept_aside or declared or healed):
            self.nothing_new()
            return self.before
        reach = list(write.covered.spans)
        if declared:
            reach.append(ALL_TIME)
        if difference.fresh.size:
            fresh = difference.fresh.ts
            reach.append(Span(int(fresh[0]), int(fresh[-1]) + self.series.timeframe.step))
        if kept_aside:
            reach += span_of_refused(write, self.series.timeframe.step)
        self.log("write", hull(reach))
        return self.keep()

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

    def keep(self) -> Point:
        """All is written: let it become durable with the transaction."""
        if any(self._more):
            # Whoever reads the series can tell by these whether a part of it has vanished.
            self.connection.queue(self.connection.dialect.count_more, [(*self._more, self.number)])
        self.is_kept = True
        return Point(self.tx, self.as_of)

    def nothing_new(self) -> None:
        """Nothing was written: leave no series behind that was entered for it."""
        if self._entered:
            self.connection.execute("DELETE FROM series WHERE id = ?", (self.number,))

    def recount(self) -> None:
        """Count anew what the series has now."""
        self._more = [0, 0, 0, 0]
        recount(self.connection, self.number)

    def rows(self, made: Plan, *, replaces: bool = True) -> None:
        """Apply a plan: retire chunks and hot rows, insert those that replace them.

        replaces: whether any of the plan's hot rows may lie over another.
        """
        execute, many, queue = self.connection.execute, self.connection.executemany, self.connection.queue
        for window in made.windows:
            queue(self.connection.dialect.retire_chunk, ((self.tx, chunk.id) for chunk in window.chunks))
            hot = execute(
                "UPDATE hot SET tx_to = ? WHERE series = ? AND tx_to = ? AND ts BETWEEN ? AND ?",
                (self.tx, self.number, LIVE, window.low, window.high),
            )
            self._more[0] -= len(window.chunks)
            self._more[1] -= hot.rowcount
        first = next_chunk(self.connection) if made.packed and not made.numbers else 0
        kept = made.parts or [packed.blob for packed in made.packed]
        for number, packed, data in zip(made.numbers or count(first), made.packed, kept, strict=False):
            row = (number, self.number, *packed[:5], self.tx, LIVE, len(packed.blob))
            queue(self.connection.dialect.insert_chunk, [row])
            queue("INSERT INTO blob (chunk, data) VALUES (?, ?)", [(number, data)])
        self._more[0] += len(made.packed)
        self._more[3] += len(made.packed) + made.hot.size
        if made.hot.size:
            stamps = made.hot.ts.tolist()
            if replaces:
                replaced = many(
                    "UPDATE hot SET tx_to = ? WHERE series = ? AND tx_to = ? AND ts = ?",
                    ((self.tx, self.number, LIVE, ts) for ts in stamps),
                )
                self._more[1] -= replaced.rowcount
            self._more[1] += len(stamps)
            queue(
                self.connection.dialect.insert_hot,
                (
                    (self.number, LIVE, ts, self.tx, over, data)
                    for ts, over, data in zip(
                        stamps, made.over, pack_single(made.hot, self.number, self.tx), strict=True
                    )
                ),
            )

    def answers(self, before: list[CoverageRecord], after: list[CoverageRecord]) -> bool:
        """Replace some coverage records by others; whether they differ."""
        old, new = set(before), set(after)
        retired = [(self.tx, self.number, LIVE, a.end, a.start) for a in before if a not in new]
        added = [
            (self.number, LIVE, a.end, a.start, self.tx, a.outcome, a.source, a.checked_at, a.expires_at)
            for a in after
            if a not in old
        ]
        self.connection.queue(self.connection.dialect.retire_record, retired)
        self.connection.queue(self.connection.dialect.insert_record, added)
        self._more[2] += len(added) - len(retired)
        self._more[3] += len(added)
        return old != new

    def log(self, kind: str, touched: Span) -> None:
        """Enter the commit into the list of commits; flags that rest on what it touched are void."""
        kept_flags.make_void(self.connection, [(self.number, touched)])
        self.connection.queue(
            self.connection.dialect.insert_commit,
            [(self.tx, self.as_of, kind, writer(), self.number, touched.start, touched.end)],
        )


def counts_hot(series: SeriesId, fresh: Rows) -> bool:
    """Whether a commit with these rows counts the hot rows of its series: one bar in 64 does."""
    if not fresh.size:
        return False
    return fresh.size >= _COUNT_EVERY or int(fresh.ts[-1]) // series.timeframe.step % _COUNT_EVERY == 0


def recount(connection: Connection, number: int) -> None:
    """Count anew what a series has."""
    connection.execute(f"{connection.dialect.recount} WHERE id = ?", (number,))
    proof = connection.dialect.proofs["series"]
    connection.execute(f"UPDATE series SET crc = {proof} WHERE id = ?", (number,))


def next_chunk(connection: Connection) -> int:
    """A number that no chunk has, and none had whose bytes are still there: damaged bytes are never freed."""
    found = connection.execute(
        "SELECT coalesce(max(used), 0) FROM"
        " (SELECT max(id) AS used FROM chunk UNION ALL SELECT max(chunk) FROM blob) AS numbers"
    ).fetchone()
    return int(found[0]) + 1


def writer() -> str:
    """Who makes a commit, as the list of commits names it."""
    return f"{_HOST}:{os.getpid()}"


_HOST = socket.gethostname()
