"""The store on an SQL database: every verb of the contract, whichever the engine."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Self

import polars as pl

from qmtl.foundation.clock import Clock
from qmtl.foundation.collector import collector_paused
from qmtl.foundation.errors import QmtlError, StoreError
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.parallel import in_parallel
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.runtime.conformance.kept_flags import KeptFlags
from qmtl.runtime.io.sql import (
    appends,
    commits,
    deliveries,
    history,
    inventory,
    kept_flags,
    plans,
    reading,
    repair,
    retraction,
)
from qmtl.runtime.io.sql.appended_rows import NotAsPresumedError
from qmtl.runtime.io.sql.beside_bars import SqlRecords
from qmtl.runtime.io.sql.blocks import Cancelled
from qmtl.runtime.io.sql.commits import SeriesEntry
from qmtl.runtime.io.sql.database import Database, committing, committing_many
from qmtl.runtime.io.sql.dialect import LIVE, Connection, Expected, Foreseen, NotForeseenError
from qmtl.runtime.io.sql.presumed import Made, Presumptions
from qmtl.runtime.io.sql.transaction import Transaction
from qmtl.runtime.io.sql.view import View
from qmtl.runtime.io.store.damage import Damage, corrupt
from qmtl.runtime.io.store.difference import NOTHING_REPLACED, replaced_frame
from qmtl.runtime.io.store.fencing import refuse_unfenced
from qmtl.runtime.io.store.point_in_time import COMPARE_PAST, READ_NEWEST, refuse_out_of_reach
from qmtl.runtime.io.store.rows import Rows, from_frame, from_small_frames
from qmtl.runtime.io.store.values import (
    ALL_TIME,
    Changes,
    ChangeToken,
    Commit,
    CommitInfo,
    Judged,
    Point,
    Retraction,
    SeriesInfo,
    Snapshot,
    StoreInfo,
    Write,
    refuse_foreign_deliveries,
)

# So often a write is prepared without the lock before it takes the lock first.
_HOPEFUL_TRIES = 3
# When a read looks again whether rows of its series have vanished from a server: after a minute, or after so
# many times what the last look took. A million versions are counted for a third of a second.
_LOOK_AGAIN_S, _LOOK_AGAIN_AFTER = 60.0, 20
# How long a read that met damage waits for the lock to write it down.
_DAMAGE_LOCK_S = 1.0

_log = logging.getLogger("seamless.store")


class SqlStore(SqlRecords):
    """Implements `Store` on one `Database`; what an engine offers beyond that, its own store adds."""

    # The engine tells of each commit at once, and for nothing.
    max_staleness = 0.0

    def __init__(self, database: Database, clock: Clock) -> None:
        super().__init__(database, clock)
        # When this process is to look again through the index of a series for what damage has hidden, now or
        # in the past; by a clock that only goes on.
        self._looked_through: dict[tuple[SeriesId, bool], float] = {}
        # Where a server is asked: what need not be asked again before the next write.
        self._presumptions = Presumptions()
        # Where a server is asked, what the last read of each series has found: its entry, and whether its
        # flags were kept.
        self._known: dict[SeriesId, tuple[SeriesEntry, bool]] = {}

    # Reading

    def read(
        self,
        series: SeriesId,
        span: Span,
        *,
        as_of: int | None = None,
        context: int = 0,
        cancelled: Cancelled | None = None,
        flags_by: bytes | None = None,
    ) -> Snapshot:
        by = {} if flags_by is None else {series: flags_by}
        return self._read([series], span, as_of, context, cancelled, by)[series]

    def read_many(
        self,
        series: Iterable[SeriesId],
        span: Span,
        *,
        as_of: int | None = None,
        context: int = 0,
        cancelled: Cancelled | None = None,
        flags_by: Mapping[SeriesId, bytes] | None = None,
    ) -> dict[SeriesId, Snapshot]:
        return self._read(list(dict.fromkeys(series)), span, as_of, context, cancelled, flags_by or {})

    def _read(
        self,
        series: list[SeriesId],
        span: Span,
        as_of: int | None,
        context: int,
        cancelled: Cancelled | None,
        flags_by: Mapping[SeriesId, bytes],
        expected: Expected | None = None,
    ) -> dict[SeriesId, Snapshot]:
        """The snapshots; none where something else is there than was expected."""
        is_past = as_of is not None
        only = series[0] if len(series) == 1 else None
        began, looked = self._clock.monotonic(), self._looked_through
        first = {one for one in series if looked.get((one, is_past), -math.inf) < began}

        def read(questions: Sequence[Foreseen], *, is_all: bool) -> dict[SeriesId, reading.Look]:
            with self._database.reading(
                only, span, foreseen=questions, is_all=is_all, compares_version=expected is not None
            ) as connection:
                if expected is not None and not expected.holds(connection):
                    return {}
                if as_of is not None and series:
                    self._refuse_out_of_reach(connection, as_of, series[0])
                return reading.read(
                    connection,
                    series,
                    span,
                    as_of,
                    context,
                    cancelled,
                    flags_by=flags_by,
                    is_first=first.__contains__,
                )

        dialect = self._database.dialect
        questions: list[Foreseen] = []
        is_all = False
        if only and not is_past and dialect.is_server:
            from qmtl.runtime.io.sql.foresight import foreseen  # a folder is asked step by step

            by, known = flags_by.get(only), self._known.get(only)
            questions, is_all = foreseen(dialect, only, known, span, context, by, expected)
        try:
            looks = read(questions, is_all=is_all and not first)
        except NotForeseenError:
            looks = read(questions, is_all=False)
        if first:
            again = self._look_again_at(began)
            looked |= {(one, is_past): again for one in first & looks.keys() if looks[one].is_sound}
        self._know(looks)
        if damage := [part for look in looks.values() for part in look.damage]:
            self._note_damage(damage, writes=as_of is None and not self.read_only)
        return {one: look.snapshot for one, look in looks.items()}

    def _look_again_at(self, began: float) -> float:
        """When to repeat a look that began then and has just ended."""
        if not self._database.dialect.is_server:
            # In a folder what vanishes later is met by the next process: pages that were read stay in memory.
            return math.inf
        ended = self._clock.monotonic()
        return ended + max(_LOOK_AGAIN_S, _LOOK_AGAIN_AFTER * (ended - began))

    def _know(self, looks: Mapping[SeriesId, reading.Look]) -> None:
        """Remember what the next read of each series will go by."""
        if self._database.dialect.is_server:
            self._known.update(
                (series, (look.entry, look.snapshot.flags is not None))
                for series, look in looks.items()
                if look.entry is not None
            )

    def _note_damage(self, damage: Sequence[Damage], *, writes: bool) -> None:
        if writes:
            try:
                self._record(damage, timeout_s=_DAMAGE_LOCK_S)
            except StoreError as failure:
                # The answer is right without it: a busy writer or a full disk must not spoil a read.
                _log.warning("damage is left for the next reader to write down: %s", failure)
            return
        for part in damage:
            _log.warning("damage in %s over %s: %s", part.series, part.span, part.why)

    def _refuse_out_of_reach(
        self, connection: Connection, as_of: int, series: SeriesId | None, next_step: str = READ_NEWEST
    ) -> None:
        newest = commits.newest(connection)
        refuse_out_of_reach(as_of, now=self._clock.now(), newest=newest, series=series, next_step=next_step)

    def _view(self, connection: Connection, series: SeriesId, as_of: int | None = None) -> View:
        tx = LIVE
        if as_of is not None:
            self._refuse_out_of_reach(connection, as_of, series)
            tx = commits.commit_at(connection, as_of).tx
        return View(connection, series, commits.series_number(connection, series), tx)

    # Writing

    def commit(self, series: SeriesId, write: Write) -> Commit:
        return self.commit_many({series: write})[series]

    def commit_many(self, writes: Mapping[SeriesId, Write]) -> dict[SeriesId, Commit]:
        if not writes:
            return {}
        # Commits of a thousand series make tens of thousands of objects, and no cycles.
        with collector_paused() if len(writes) > 1 else nullcontext():
            return self._commit_many(writes)

    def _commit_many(self, writes: Mapping[SeriesId, Write]) -> dict[SeriesId, Commit]:
        together = from_small_frames({series: write.frame for series, write in writes.items()})
        rows = {
            series: self._checked(series, write, together.get(series)) for series, write in writes.items()
        }
        self._meet_damage([series for series in writes if (series, False) not in self._looked_through])
        before: list[Damage] = []
        while True:
            try:
                return self._with_risk(self._commit(writes, rows))
            except plans.DamagedWindowError as met:
                if met.damage == before:
                    gone = Coverage(damage.span for damage in met.damage)
                    series = met.damage[0].series
                    raise corrupt(series, gone, what="nothing can be written over it") from met
                # Once recorded, the damaged chunk is out of the way; each round removes at least one.
                self._record(met.damage)
                before = met.damage

    def _with_risk(self, done: dict[SeriesId, Commit]) -> dict[SeriesId, Commit]:
        if (why := self._database.at_risk) is None:
            return done
        return {series: replace(commit, at_risk=commit.at_risk or why) for series, commit in done.items()}

    def _checked(self, series: SeriesId, write: Write, rows: Rows | None) -> Rows:
        """The rows of a write that may be made. Raises `InvalidRequestError`.

        rows: if they were read from its frame already.
        """
        rows = from_frame(write.frame, series) if rows is None else rows
        refuse_foreign_deliveries(write, rows.ts, series)
        refuse_unfenced(series, write, rows.ts, self.shard_steps)
        return rows

    def _meet_damage(self, series: list[SeriesId]) -> None:
        """Look through series that were never read: what a damaged index hides must not be written over."""
        if series:
            self.read_many(series, Span(0, 0))

    def _commit(
        self, writes: Mapping[SeriesId, Write], rows: Mapping[SeriesId, Rows]
    ) -> dict[SeriesId, Commit]:
        # A few rows are compared and packed faster than a lock is asked for twice.
        many = {series: part for series, part in rows.items() if part.size >= plans.FEW}
        for _ in range(_HOPEFUL_TRIES if many else 0):
            prepared = self._prepared(many)
            if (done := self._commit_prepared(writes, rows, prepared)) is not None:
                return done
        try:
            done = self._commit_prepared(writes, rows, {})
        except NotAsPresumedError:  # then what is damaged, or was counted anew, is looked at one by one
            self._presumptions.forget()
            done = self._commit_prepared(writes, rows, {}, one_by_one=True)
        assert done is not None  # what is worked out under the lock holds
        return done

    def _prepared(self, rows: Mapping[SeriesId, Rows]) -> dict[SeriesId, plans.Change]:
        """What the rows of each series change, worked out while others may write."""
        return dict(in_parallel(self._prepared_one, rows.items()))

    def _prepared_one(self, item: tuple[SeriesId, Rows]) -> tuple[SeriesId, plans.Change]:
        series, rows = item
        with self._database.reading(series) as connection:
            view = self._view(connection, series)
            difference, over = plans.compare(view, rows)
            seen = commits.newest(connection).tx
            made = plans.plan(view, difference.fresh, over, seen=seen, fold=False)
            return series, plans.Change(difference, made, plans.chunks_under(view, made))

    def _commit_prepared(
        self,
        writes: Mapping[SeriesId, Write],
        rows: Mapping[SeriesId, Rows],
        prepared: Mapping[SeriesId, plans.Change],
        *,
        one_by_one: bool = False,
    ) -> dict[SeriesId, Commit] | None:
        """All writes as one transaction; None if another commit has overtaken what was prepared.

        one_by_one: none of them together with others.
        """
        done = {}
        only = next(iter(writes)) if len(writes) == 1 else None
        dialect = self._database.dialect
        apart = writes
        if prepared:
            apart = {series: write for series, write in writes.items() if series not in prepared}
        small = [] if one_by_one else appends.small_ones(apart, rows)
        presumed = self._presumptions.append_all(small) if len(small) == len(writes) else None
        asked = appends.questions(dialect, small) if presumed is None and dialect.is_server else None
        foreseen = [one for one in asked or () if one is not None]
        try:
            with committing_many(self._database, self._clock.now(), only, foreseen=foreseen) as batch:
                before = batch.newest
                if presumed is not None and before == presumed.newest:
                    appending = presumed.made
                elif only and not dialect.is_server and not self._presumptions.was_last(before):
                    appending = {}  # where no server is asked, one write is quicker by itself
                else:
                    appending = appends.appends(batch.connection, small, asked)
                if not only and len(appending) < len(writes):
                    batch.expect([series for series in writes if series not in appending])
                nothing = NOTHING_REPLACED.clone()
                for series, write in writes.items():
                    if (made := appending.get(series)) is not None:
                        done[series] = Commit(*batch.append(made), made.rows.size, 0, nothing)
                        continue
                    transaction = batch.begin(series)
                    change = prepared.get(series)
                    if change is None:
                        change = _change_under_lock(transaction, rows[series])
                    elif not plans.still_holds(change.plan, change.chunks, transaction.view):
                        raise _OvertakenError
                    done[series] = _applied(transaction, write, change)
        except _OvertakenError:
            return None
        others = writes.keys() - appending.keys() if len(appending) < len(writes) else ()
        if others and dialect.is_server:
            self._presumptions.forget()
        else:
            followed = {series: Made(made, done[series].tx) for series, made in appending.items()}
            self._presumptions.follow(followed, before, batch.newest, others=others)
        return done

    def retract(self, series: SeriesId, span: Span, *, reason: str) -> Retraction:
        while True:
            try:
                with committing(self._database, series, self._clock.now()) as transaction:
                    return retraction.retract(transaction, span, reason)
            except plans.DamagedWindowError as met:
                self._record(met.damage)

    def _record(self, damage: Sequence[Damage], *, timeout_s: float | None = None) -> None:
        repair.record_all(self._database, damage, self._clock, timeout_s=timeout_s)

    # History

    def newest(self) -> Point:
        with self._database.reading() as connection:
            return commits.newest(connection)

    def commits(self, series: SeriesId) -> list[CommitInfo]:
        with self._database.reading(series) as connection:
            return history.commits(connection, series)

    def diff(self, series: SeriesId, as_of_a: int, as_of_b: int, *, partial_ok: bool = False) -> pl.DataFrame:
        with self._database.reading(series) as connection:
            for as_of in (as_of_a, as_of_b):
                self._refuse_out_of_reach(connection, as_of, series, COMPARE_PAST)
            frame, damaged = history.diff(connection, series, as_of_a, as_of_b)
        if damaged and not partial_ok:
            raise corrupt(series, damaged, what="what changed cannot be told")
        return frame

    def deliveries(self, series: SeriesId, span: Span, *, as_of: int | None = None) -> pl.DataFrame:
        with self._database.reading(series, span) as connection:
            return deliveries.read(self._view(connection, series, as_of), span)

    # Changes

    def has_changed(self, token: ChangeToken) -> bool:
        return self._database.version() != token.version

    def changed_since(self, token: ChangeToken | None) -> Changes:
        # Before the list is read: a commit between the two is listed now, and looked for once more.
        version = self._database.version()
        if token is not None and version == token.version:
            return Changes(token, [])
        with self._database.reading() as connection:
            newest = commits.newest(connection)
            horizon = commits.horizon_if_sound(connection)
            listed, is_restored = [], False
            if token is not None:
                listed = commits.changes(connection, token.tx)
                is_restored = token.as_of is not None and not commits.has_all(
                    connection, [Point(token.tx, token.as_of)]
                )
                if is_restored:
                    listed = commits.whole_series(connection, newest.tx)
        if is_restored:
            self._looked_through.clear()
            self._known.clear()
            self._presumptions.forget()
        return Changes(ChangeToken(version, *newest), listed, horizon, is_restored)

    # Kept flags

    @property
    def reads_ahead(self) -> bool:
        return True

    def keep_flags(self, judged: Iterable[Judged]) -> None:
        if self.read_only:
            return
        try:
            with self._database.writing(timeout_s=0.0, is_durable=False) as connection:
                kept_flags.keep(connection, judged)
                connection.execute("COMMIT")
        except QmtlError as failure:
            # Answers are right without them: a busy writer, a full disk or damage must not spoil a read.
            _log.debug("flags are left for another read to keep: %s", failure)

    def kept_flags(self, series: SeriesId) -> list[tuple[bytes, KeptFlags]]:
        with self._database.reading(series) as connection:
            return kept_flags.listed(connection, series)

    # Facts, quarantine, inventory

    def facts(self, series: SeriesId, *, as_of: int | None = None) -> SeriesFacts | None:
        with self._database.reading(series) as connection:
            return self._view(connection, series, as_of).facts()

    def declare(self, series: SeriesId, facts: SeriesFacts) -> None:
        with committing(self._database, series, self._clock.now()) as transaction:
            if transaction.view.facts() != facts:
                transaction.declare(facts)
                transaction.log("declare", ALL_TIME)
                transaction.keep()

    def quarantined(self, series: SeriesId, span: Span) -> pl.DataFrame:
        with self._database.reading(series, span) as connection:
            return inventory.quarantined(connection, series, span)

    def list_series(self) -> list[SeriesInfo]:
        with self._database.reading() as connection:
            return inventory.list_series(connection)

    def info(self) -> StoreInfo:
        with self._database.reading() as connection:
            return inventory.info(
                connection,
                self.location,
                format=self._database.format(),
                read_only=self.read_only,
                size=self._database.size(),
            )

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _OvertakenError(Exception):
    """Another commit has changed what a prepared one rests on; nothing of the batch is kept."""


def _change_under_lock(transaction: Transaction, rows: Rows) -> plans.Change:
    difference, over = plans.compare(transaction.view, rows)
    fold = transaction.too_many_hot(difference.fresh)
    plan = partial(plans.plan, transaction.view, difference.fresh, over, seen=transaction.before.tx)
    try:
        made = plan(fold=fold)
    except StoreError as failure:
        if not fold or difference.fresh.size >= plans.FEW:
            raise
        # Rows may lie elsewhere, and cannot be written there now: a few more single ones do no harm.
        _log.warning("single rows stay what they are for now: %s", failure)
        made = plan(fold=False)
    return plans.Change(difference, made, [])


def _applied(transaction: Transaction, write: Write, change: plans.Change) -> Commit:
    difference = change.difference
    healed = repair.heal(transaction, write)
    point = transaction.apply(write, difference, change.plan, healed=healed)
    replaced = replaced_frame(difference.old, difference.new)
    elsewhere = transaction.connection.elsewhere
    at_risk = elsewhere.at_risk if elsewhere is not None and change.plan.numbers else None
    return Commit(point.tx, point.as_of, difference.added, difference.unchanged, replaced, at_risk)
