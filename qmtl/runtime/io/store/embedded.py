"""A store in one directory, without a server: many threads and processes may read and write it at once."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import groupby
from os import PathLike
from pathlib import Path
from typing import Any

import polars as pl

from qmtl.foundation.clock import Clock, SystemClock
from qmtl.foundation.errors import StoreCorruptError, StoreError
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.local_paths import local_path
from qmtl.foundation.schema.governance import Decision, Observation
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.runtime.conformance.acceptance import Accepted
from qmtl.runtime.io.store import (
    archive,
    compaction,
    governance,
    history,
    inventory,
    opening,
    pins,
    reader,
    retraction,
    writer,
)
from qmtl.runtime.io.store import repair as repairs
from qmtl.runtime.io.store import verify as verification
from qmtl.runtime.io.store.base import ALL_TIME, Change, Commit, CommitInfo, Retraction, Snapshot, Write
from qmtl.runtime.io.store.compaction import Compaction
from qmtl.runtime.io.store.damage import Damage, corrupt
from qmtl.runtime.io.store.inventory import SeriesInfo, StoreInfo
from qmtl.runtime.io.store.pins import Pin
from qmtl.runtime.io.store.repair import Lost
from qmtl.runtime.io.store.rows import NO_ROWS, Rows, from_frame
from qmtl.runtime.io.store.schema import LIVE
from qmtl.runtime.io.store.verify import Progress, Verification
from qmtl.runtime.io.store.windows import Window

# So often a write is prepared without the lock before it takes the lock first.
_HOPEFUL_TRIES = 3
# How long a read that met damage waits for the lock to write it down.
_PATIENCE_S = 1.0

_log = logging.getLogger("seamless.store")


class EmbeddedStore:
    """Implements `Store`, `ReportArchive` and `GovernanceRecords` on one SQLite file of packed chunks.

    path: a directory, made if it is missing. Raises `StoreError` if it cannot be one, and
        `InvalidRequestError` for an address such as s3://bucket.
    read_only: refuse every write, and make no directory.
    retention: how many nanoseconds of history `compact` keeps for `as_of`; None keeps all.
    lock_timeout_s: how long a write waits for other writers before `StoreLockedError`.
    lost_commits_ok: go on with a store whose newest commits are gone; else that is a `StoreCorruptError`.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        read_only: bool = False,
        clock: Clock | None = None,
        retention: int | None = None,
        lock_timeout_s: float = 30.0,
        lost_commits_ok: bool = False,
    ) -> None:
        self._clock: Clock = clock or SystemClock()
        self._retention = retention
        self._looked_through: set[SeriesId] = set()
        self._home = opening.Home(
            local_path(path, "a store").expanduser(),
            read_only=read_only,
            lock_timeout_s=lock_timeout_s,
            lost_commits_ok=lost_commits_ok,
        )

    @property
    def path(self) -> Path:
        """The directory."""
        return self._home.folder

    @property
    def read_only(self) -> bool:
        """Whether writes are refused, by request or because the directory cannot be written."""
        return self._home.read_only

    @property
    def shard_steps(self) -> int:
        """How many grid steps make one shard of a backfill; kept in the store, so that all cut alike."""
        return self._home.shard_steps

    # Reading

    def read(
        self,
        series: SeriesId,
        span: Span,
        *,
        as_of: int | None = None,
        context: int = 0,
        check: Callable[[], None] | None = None,
    ) -> Snapshot:
        with self._home.reading(series, span) as connection:
            if as_of is not None:
                reader.refuse_future(connection, series, as_of, self._clock.now())
            is_first = series not in self._looked_through
            snapshot, damage = reader.read(connection, series, span, as_of, context, check, is_first=is_first)
        if damage and as_of is None and not self.read_only:
            try:
                self._record(damage, timeout_s=_PATIENCE_S)
            except StoreError as failure:
                # The answer is right without it: a busy writer or a full disk must not spoil a read.
                _log.warning("damage is left for the next reader to write down: %s", failure)
        elif damage:
            for part in damage:
                _log.warning("damage in %s over %s: %s", part.series, part.span, part.why)
        elif is_first:
            # What vanishes from now on is met by the next process: pages that were read stay in memory.
            self._looked_through.add(series)
        return snapshot

    def version(self) -> int:
        return self._home.version()

    def changes(self, since: int) -> list[Change]:
        with self._home.reading() as connection:
            return reader.changes(connection, since)

    def last_tx(self) -> int:
        with self._home.reading() as connection:
            return reader.last_commit(connection)[0]

    def facts(self, series: SeriesId, *, as_of: int | None = None) -> SeriesFacts | None:
        with self._home.reading(series) as connection:
            if as_of is None:
                return self._view(connection, series).facts()
            connection.execute("BEGIN")
            reader.refuse_future(connection, series, as_of, self._clock.now())
            tx, _at = reader.commit_at(connection, as_of)
            return reader.View(connection, series, reader.series_number(connection, series), tx).facts()

    def diff(self, series: SeriesId, as_of_a: int, as_of_b: int, *, partial_ok: bool = False) -> pl.DataFrame:
        with self._home.reading(series) as connection:
            for as_of in (as_of_a, as_of_b):
                reader.refuse_future(connection, series, as_of, self._clock.now())
            frame, damaged = history.diff(connection, series, as_of_a, as_of_b)
        if damaged and not partial_ok:
            raise corrupt(series, damaged, what="what changed cannot be told")
        return frame

    def commits(self, series: SeriesId) -> list[CommitInfo]:
        with self._home.reading(series) as connection:
            return history.commits(connection, series)

    def quarantined(self, series: SeriesId, span: Span) -> pl.DataFrame:
        with self._home.reading(series, span) as connection:
            return inventory.quarantined(connection, series, span)

    def list_series(self) -> list[SeriesInfo]:
        """Every series of the store, by name."""
        with self._home.reading() as connection:
            return inventory.list_series(connection)

    def info(self) -> StoreInfo:
        """The store as a whole."""
        with self._home.reading() as connection:
            return inventory.info(connection, self.path, read_only=self.read_only)

    @staticmethod
    def _view(connection: sqlite3.Connection, series: SeriesId) -> reader.View:
        return reader.View(connection, series, reader.series_number(connection, series), LIVE)

    # Writing

    def commit(self, series: SeriesId, write: Write) -> Commit:
        rows = from_frame(write.frame, series)
        if series not in self._looked_through:
            # What a damaged index hides must not be written over.
            self.read(series, Span(0, 0))
        before: list[Damage] = []
        while True:
            try:
                return self._commit(series, write, rows)
            except writer.DamagedWindowError as met:
                if met.damage == before:
                    gone = Coverage(damage.span for damage in met.damage)
                    raise corrupt(series, gone, what="nothing can be written over it") from met
                # Once recorded, the damaged chunk is out of the way; each round removes at least one.
                self._record(met.damage)
                before = met.damage

    def _commit(self, series: SeriesId, write: Write, rows: Rows) -> Commit:
        # A few rows are compared and packed faster than a lock is asked for twice.
        for _ in range(_HOPEFUL_TRIES if rows.size >= writer.FEW else 0):
            with self._home.reading(series) as connection:
                connection.execute("BEGIN")
                seen, _at = reader.last_commit(connection)
                view = self._view(connection, series)
                difference = writer.compare(view, rows)
                made = writer.plan(view, difference, seen=seen, fold=False)
            with self._writing(series) as transaction:
                if transaction.still_holds(made):
                    return self._apply(transaction, write, difference, made)
        with self._writing(series) as transaction:
            difference = writer.compare(transaction.view, rows)
            fold = transaction.too_many_hot(difference.fresh)
            made = writer.plan(transaction.view, difference, seen=transaction.tx - 1, fold=fold)
            return self._apply(transaction, write, difference, made)

    @staticmethod
    def _apply(
        transaction: writer.Transaction, write: Write, difference: writer.Difference, made: writer.Plan
    ) -> Commit:
        healed = repairs.heal(transaction, write)
        tx, as_of = transaction.apply(write, difference, made, healed=healed)
        replaced = writer.replaced_frame(difference.old, difference.new)
        return Commit(tx, as_of, difference.added, difference.unchanged, replaced)

    def retract(self, series: SeriesId, span: Span, *, reason: str) -> Retraction:
        while True:
            try:
                with self._writing(series) as transaction:
                    return retraction.retract(transaction, span, reason)
            except writer.DamagedWindowError as met:
                self._record(met.damage)

    @contextmanager
    def _writing(self, series: SeriesId, *, timeout_s: float | None = None) -> Iterator[writer.Transaction]:
        with self._home.writing(series, timeout_s=timeout_s) as connection:
            transaction = writer.Transaction(connection, series, self._clock.now())
            yield transaction
            if transaction.committed:
                self._home.remember(transaction.tx)

    def declare(self, series: SeriesId, facts: SeriesFacts) -> None:
        with self._writing(series) as transaction:
            if transaction.view.facts() != facts:
                transaction.declare(facts)
                transaction.log("declare", ALL_TIME)
                transaction.commit()

    # Care

    def verify(self, *, progress: Progress | None = None, repair: bool = False) -> Verification:
        """Read every chunk and every single row against its checksum, and the index against both.

        What damage took earlier is reported until it is healed or acknowledged. With `repair`, damage is
        recorded: current ranges become unknown, so that they heal, and reads as of earlier commits
        leave them out. `progress(done, total)` counts chunks.
        """
        result = self._verify(progress)
        if not repair or result.is_readable:
            return result
        if result.problems:
            self._rebuild()
            result = self._verify(progress)
        self._record(result.damage)
        after = self._verify(None)
        stays = tuple(f"what is damaged in {part.series} could not be recorded" for part in after.damage)
        return replace(result, problems=(*after.problems, *stays), lost=after.lost, repaired=True)

    def _verify(self, progress: Progress | None) -> Verification:
        with self._home.reading() as connection:
            return verification.verify(connection, progress)

    def lost(self, series: SeriesId) -> list[Lost]:
        """What damage has taken of a series, and what is neither healed nor acknowledged."""
        with self._home.reading(series) as connection:
            return [one for one in repairs.reported(connection) if one.series == series]

    def acknowledge(self) -> int:
        """Report what was lost no longer; it stays unknown. How many ranges there were."""
        with self._home.reading() as connection:
            known = {one.series for one in repairs.reported(connection)}
        count = 0
        for series in sorted(known, key=str):
            with self._writing(series) as transaction:
                count += repairs.acknowledge(transaction)
                transaction.commit()
        return count

    def _record(self, damage: Sequence[Damage], *, timeout_s: float | None = None) -> None:
        for series, found in groupby(sorted(damage, key=_series_of), key=_series_of):
            parts = list(found)
            try:
                self._record_of_one(parts, timeout_s)
            except StoreCorruptError:
                # An index that disagrees with its table can be made anew from it.
                self._rebuild()
                self._record_of_one(parts, timeout_s)
            for part in parts:
                _log.warning("damage in %s over %s made unknown: %s", series, part.span, part.why)

    def _record_of_one(self, parts: Sequence[Damage], timeout_s: float | None) -> None:
        with self._writing(parts[0].series, timeout_s=timeout_s) as transaction:
            if repairs.record(transaction, parts):
                transaction.commit()

    def _rebuild(self) -> None:
        with self._home.writing() as connection:
            repairs.rebuild(connection)
            connection.execute("COMMIT")

    @contextmanager
    def reading_all(self) -> Iterator[sqlite3.Connection]:
        """A connection that sees the store as it is now, whatever is committed meanwhile."""
        with self._home.reading() as connection:
            connection.execute("BEGIN")
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            yield connection

    def note_newest(self) -> None:
        """Write down beside the database which commit is its newest, as each commit does."""
        self._home.note_newest()

    def compact(self, *, progress: Progress | None = None) -> Compaction:
        """Fold single rows and small chunks into full ones, and delete what lies behind the retention.

        Others may read and write meanwhile. `progress(done, total)` counts stretches of chunks.
        """
        self._home.refuse_unwritable()
        before = inventory.size_of(self.path)
        work: list[tuple[SeriesId, Window]] = []
        for known in self.list_series():
            with self._home.reading(known.series) as connection:
                connection.execute("BEGIN")
                work += [(known.series, w) for w in compaction.work(self._view(connection, known.series))]
        try:
            folded = 0
            for done, (series, window) in enumerate(work):
                folded += self._renew(series, window)
                if progress is not None:
                    progress(done + 1, len(work))
            swept = 0 if self._retention is None else self._sweep(self._retention)
            self._home.shrink()
        except StoreCorruptError:
            raise
        except StoreError as failure:
            if isinstance(failure.__cause__, sqlite3.OperationalError) and opening.is_full(failure.__cause__):
                raise compaction.no_room(self.path, [window for _, window in work]) from failure
            raise
        return Compaction(len(work), folded, swept, before, inventory.size_of(self.path))

    def _renew(self, series: SeriesId, window: Window) -> int:
        """Make one window anew; how many single rows went into it. Gives up where others keep writing."""
        for _ in range(_HOPEFUL_TRIES):
            with self._home.reading(series) as connection:
                connection.execute("BEGIN")
                seen, _at = reader.last_commit(connection)
                view = self._view(connection, series)
                if view.chunks(window.low, window.high) != list(window.chunks):
                    return 0
                folded = view.hot(window.low, window.high).size
                if not folded and len(window.chunks) < 2:
                    return 0
                made = writer.rewrite(view, [window], NO_ROWS, seen=seen)
            if view.damage:
                self._record(view.damage)
                return 0
            with self._writing(series) as transaction:
                if transaction.still_holds(made):
                    transaction.rows(made)
                    transaction.log("compact", made.reach)
                    transaction.commit()
                    return folded
        return 0

    def pin(self, name: str, *, as_of: int | None = None) -> Pin:
        """Hold a commit by name (the newest, or that of `as_of`), so that `compact` never sweeps it away.

        Pinning the same again is nothing. Raises `InvalidRequestError` where the name holds another commit,
        and as `read` does for a time that cannot be read.
        """
        with self._home.writing() as connection:
            now = self._clock.now()
            if as_of is not None:
                reader.refuse_future(connection, None, as_of, now)
            commit = reader.last_commit(connection) if as_of is None else reader.commit_at(connection, as_of)
            pin = pins.hold(connection, name, commit, now)
            connection.execute("COMMIT")
        return pin

    def unpin(self, name: str) -> Pin:
        """Let go of a pin; what it was. Raises `InvalidRequestError` if there is none of that name."""
        with self._home.writing() as connection:
            pin = pins.release(connection, name)
            connection.execute("COMMIT")
        return pin

    def pins(self) -> list[Pin]:
        """All pins, by name."""
        with self._home.reading() as connection:
            return pins.listed(connection)

    def _sweep(self, retention: int) -> int:
        with self._home.writing() as connection:
            tx = compaction.sweep_horizon(connection, self._clock.now(), retention)
            connection.execute("COMMIT")
        swept = 0
        while tx is not None:
            with self._home.reading() as connection:
                old = compaction.old_chunks(connection, tx)
            with self._home.writing() as connection:
                some = compaction.sweep_some(connection, tx, old)
                connection.execute("COMMIT")
            swept += some
            if not some:
                break
        return swept

    # Reports

    def archive_report(self, series: SeriesId, report: Mapping[str, Any]) -> int | None:
        if self.read_only:
            return None
        with self._home.writing(series) as connection:
            number = archive.append(connection, series, report, self._clock.now())
            connection.execute("COMMIT")
            return number

    def newest_report(self, series: SeriesId) -> dict[str, Any] | None:
        with self._home.reading(series) as connection:
            return archive.newest(connection, series)

    def baseline_report(self, series: SeriesId) -> dict[str, Any] | None:
        with self._home.reading(series) as connection:
            return archive.baseline(connection, series)

    def reports(self, series: SeriesId | None = None) -> list[dict[str, Any]]:
        with self._home.reading(series) as connection:
            return archive.listed(connection, series)

    def accept(self, series: SeriesId, accepted: Iterable[Accepted]) -> int:
        with self._home.writing(series) as connection:
            new = archive.accept(connection, series, accepted, self._clock.now())
            connection.execute("COMMIT")
            return new

    def accepted(self, series: SeriesId) -> list[Accepted]:
        with self._home.reading(series) as connection:
            return archive.accepted(connection, series)

    # Governance of schemas

    def decide(self, subject: str, decision: Decision) -> None:
        with self._home.writing() as connection:
            governance.decide(connection, subject, decision)
            connection.execute("COMMIT")

    def decisions(self, subject: str) -> tuple[Decision, ...]:
        with self._home.reading() as connection:
            return governance.decisions(connection, subject)

    def observe(self, subject: str, observation: Observation) -> None:
        with self._home.writing() as connection:
            governance.observe(connection, subject, observation)
            connection.execute("COMMIT")

    def observed(self, subject: str, since: int = 0) -> tuple[Observation, ...]:
        with self._home.reading() as connection:
            return governance.observed(connection, subject, since)

    def close(self) -> None:
        self._home.close()

    def __enter__(self) -> EmbeddedStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"EmbeddedStore({str(self.path)!r}{', read_only=True' if self.read_only else ''})"


def _series_of(damage: Damage) -> str:
    return damage.series.text
