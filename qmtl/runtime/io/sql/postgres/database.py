"""The schema of one store in a database: how it is opened, read, and written by one at a time."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
from platformdirs import user_state_path

from qmtl.foundation.errors import QmtlError, StoreError, StoreLockedError
from qmtl.foundation.series import SeriesId
from qmtl.foundation.store_address import StoreAddress
from qmtl.foundation.timeline import Span
from qmtl.runtime.io.sql.catalogs import settle_rows
from qmtl.runtime.io.sql.chunks import RowsElsewhere
from qmtl.runtime.io.sql.dialect import Connection, Dialect, Foreseen, Question
from qmtl.runtime.io.sql.formats import older
from qmtl.runtime.io.sql.postgres import at_once, lost_connections, recognition, timeline
from qmtl.runtime.io.sql.postgres.alterations import altered_columns
from qmtl.runtime.io.sql.postgres.connection import PostgresConnection
from qmtl.runtime.io.sql.postgres.dialect import POSTGRES
from qmtl.runtime.io.sql.postgres.failures import damaged_layout, is_full, meaning
from qmtl.runtime.io.sql.postgres.layout import APPLICATION_ID, FORMAT, TABLES, quoted
from qmtl.runtime.io.sql.postgres.notice import CommitNotice
from qmtl.runtime.io.sql.postgres.opening import opened
from qmtl.runtime.io.sql.postgres.pool import Pool
from qmtl.runtime.io.sql.presumed import Presumed
from qmtl.runtime.io.store.contract import ReadAbandonedError
from qmtl.runtime.io.store.point_in_time import following
from qmtl.runtime.io.store.values import Point
from qmtl.runtime.io.store.waiting import watched

# Connections of one process at once.
_CONNECTIONS = 8
# A writer that stands still, with the lock, is ended by the server after this.
_STANDSTILL_S = 60
_NOT_DURABLE = ", set_config('synchronous_commit', 'off', true)"
# A number for the tables, and the newest commit, report and acceptance in them with their times: what was
# brought back from a backup may have as many of each again.
_NEWEST = (
    ("tx", "id", "committed_at"),
    ("report", "number", "archived_at"),
    ("accepted", "number", "accepted_at"),
)
VERSION = Question(
    "SELECT hashtextextended(concat_ws(' ', "
    + ", ".join(
        [
            timeline.TABLES,
            *(
                f"(SELECT '{table} ' || {number} || ' ' || {at} FROM {table} ORDER BY {number} DESC LIMIT 1)"
                for table, number, at in _NEWEST
            ),
        ]
    )
    + "), 0)"
)
_CLOCK = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint * 1000"


class PostgresDatabase:
    """Implements `Database`.

    has_clock: whether commits get the time of the server. max_staleness: in seconds; above 0, `notice` hears
    of the commits of others. elsewhere: where the bars of its chunks lie, see `settle_rows`.
    """

    dialect: Dialect = POSTGRES

    def __init__(
        self,
        address: StoreAddress,
        *,
        read_only: bool,
        lock_timeout_s: float,
        has_clock: bool = True,
        max_staleness: float = 0.0,
        elsewhere: RowsElsewhere | None = None,
    ) -> None:
        self.address, self.read_only, self._is_reader = address, read_only, read_only
        self._lock_timeout_s, self._has_clock = lock_timeout_s, has_clock
        # Stores in schemas of one database have a lock each.
        self._lock = f"{APPLICATION_ID}, {zlib.crc32(address.schema.encode()) - 2**31}"
        # A session waits for it as long as for any lock.
        self._takes_lock = Question(f"SELECT pg_advisory_xact_lock({self._lock})", ())
        # Of two schemas that share a channel, for it is cut at 63 bytes, each hears of the other as well.
        self._channel = f"qmtl {address.schema}".encode()[:63].decode(errors="ignore")
        self._closed, self._elsewhere = False, elsewhere
        self.at_risk: str | None = None
        self._why_read_only = "it was opened read-only"
        # That of the newest commits, and the tables that they are in; see `timeline.py`.
        self._timeline: int | None = None
        self._tables = 0
        self.store_id = ""
        self._pool = Pool(self._opened, limit=_CONNECTIONS)
        self.notice: CommitNotice | None = None
        if max_staleness > 0:
            self.notice = CommitNotice(
                self._opened,
                channel=quoted(self._channel),
                question=VERSION.sql,
                max_staleness=max_staleness,
            )
        try:
            with self.translated(), self._pool.use() as connection:
                self._settle(connection)
        except BaseException:
            self.close()
            raise

    def _settle(self, connection: PostgresConnection) -> None:
        """Lay out a new schema; refuse a foreign one; find out whether it can be written."""
        found = recognition.recognise(connection, self.address)
        if found.refuses_writes and not self.read_only:
            self.read_only, self._why_read_only = True, found.refuses_writes
        if found.format == 0:
            if self.read_only:
                raise StoreError(
                    "there is no store to read here",
                    path=self.address.shown,
                    why=f"the schema {self.address.schema} is empty, and {self._why_read_only}",
                    next_step="check the address, or open it for writing once",
                )
            connection.begin_writing(self._beginning(self._lock_timeout_s, is_durable=True))
            # Another process may have been quicker.
            if not recognition.recognise(connection, self.address).format:
                recognition.lay_out(connection, self.address)
            connection.commit()
        elif found.format < FORMAT:
            raise older(found.format, FORMAT, self.address.shown)
        self._identify(connection)
        if not self.read_only:
            timeline.note_tables(connection)
            self._go_on(connection)
        settle_rows(connection, self.location, self.writing, are_elsewhere=self._elsewhere is not None)

    def _identify(self, connection: PostgresConnection) -> None:
        """Find out who the store is, and which tables it has.

        Raises `StoreError` where it is not the one that was opened: its schema was dropped, and made anew.
        """
        standing = timeline.standing_of(connection)
        identity = recognition.identity_of(connection)
        if self.store_id not in ("", identity.store_id):
            raise StoreError(
                "another store has taken the place of the one that was opened",
                path=self.address.shown,
                why=f"{self.store_id} was opened, and the schema now has {identity.store_id}",
                next_step="open it again to use the one that is there now",
            )
        self.store_id, self.place_id, self.shard_steps, self._format = identity
        connection.standing = standing
        self._timeline, self._tables = timeline.of_store(connection), standing.tables

    def _identify_anew(self, connection: PostgresConnection) -> None:
        """The same in the midst of a transaction, which is given up."""
        connection.finish()
        self._identify(connection)

    def _go_on(self, connection: PostgresConnection) -> None:
        """Where the store is on another timeline than it says, note that before anything is written."""
        if connection.standing.timeline is None:  # as of when the server was in recovery
            connection.standing = timeline.standing_of(connection)
        if connection.standing.tables != self._tables:
            self._identify(connection)
        if not self._has_moved(connection):
            return
        _, now, *_ = connection.begin_writing(self._beginning(self._lock_timeout_s, is_durable=True))
        connection.standing = timeline.standing_of(connection)
        now_on = connection.standing.timeline
        assert now_on is not None  # nothing that writes begins in recovery
        timeline.go_on(connection, now, now_on)
        connection.commit()
        self._timeline = now_on

    def _has_moved(self, connection: PostgresConnection) -> bool:
        now_on, tables = connection.standing
        is_same = now_on is not None and self._timeline in (None, now_on)
        return tables != self._tables or not is_same

    def _opened(self) -> PostgresConnection:
        connection = opened(self.address, lock_timeout_ms=_milliseconds(self._lock_timeout_s))
        connection.elsewhere = self._elsewhere
        self.at_risk = (
            None if connection.waits_for_disk else "PostgreSQL does not wait for the disk: fsync is off"
        )
        return connection

    @property
    def folder(self) -> Path:
        """Where the processes of this user, on this machine, lock each other out; others do not see it."""
        return user_state_path("qmtl", appauthor=False) / "stores" / self.place_id

    @property
    def location(self) -> str:
        """The address, without a password."""
        return self.address.shown

    @contextmanager
    def reading(
        self,
        series: SeriesId | None = None,
        span: Span | None = None,
        *,
        foreseen: Sequence[Foreseen] = (),
        is_all: bool = False,
        compares_version: bool = False,
    ) -> Iterator[PostgresConnection]:
        """A connection whose statements all see the same commits."""

        def begin(connection: PostgresConnection) -> None:
            known = self._tables
            held = [] if compares_version else [timeline.HELD]
            connection.begin_reading([*held, *foreseen], is_all=is_all)
            # In others, which were brought back meanwhile, it sees no row.
            if held and _tables_of(connection) != known:
                self._identify_anew(connection)
                begin(connection)

        with self.translated(series, span), self._begun(begin, is_read=True) as connection:
            yield connection

    @contextmanager
    def writing(
        self,
        series: SeriesId | None = None,
        *,
        timeout_s: float | None = None,
        is_durable: bool = True,
        foreseen: Sequence[Foreseen] = (),
    ) -> Iterator[PostgresConnection]:
        """A connection in a transaction that holds the lock of all writers until it ends."""
        self.refuse_unwritable(series)
        wait_s = self._lock_timeout_s if timeout_s is None else timeout_s
        statements = self._beginning(wait_s, is_durable=is_durable)

        def begin(connection: PostgresConnection) -> None:
            try:
                self._go_on(connection)
                known = self._tables
                is_mine, now, *marks = connection.begin_writing(statements, [timeline.HELD, *foreseen])
            except psycopg.errors.LockNotAvailable as failure:
                raise self._locked(wait_s) from failure
            except psycopg.errors.FeatureNotSupported as failure:
                self._refuse_replica(connection, failure)
                raise
            if not is_mine:
                raise self._locked(wait_s)
            if _tables_of(connection) != known:  # somebody has brought the store back from a backup
                self._identify_anew(connection)
                begin(connection)
                return
            connection.now = now if self._has_clock else None
            transaction, started = marks
            is_kept = partial(lost_connections.is_kept, transaction=transaction, started=started)
            connection.commits = partial(self._commit, connection, is_kept)
            connection.tells = f"NOTIFY {quoted(self._channel)}" if is_durable else ""

        with self.translated(series), self._begun(begin) as connection:
            try:
                yield connection
            finally:
                if self.notice is not None:
                    self.notice.committed()

    def _beginning(self, wait_s: float, *, is_durable: bool) -> list[str]:
        """Statements that begin a transaction with the lock; the last says whether it is there, and when."""
        takes = f"pg_try_advisory_xact_lock({self._lock})"
        if wait_s > 0:
            takes = f"pg_advisory_xact_lock({self._lock}) IS NOT NULL"
        return [
            "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE",
            f"SELECT set_config('lock_timeout', '{_milliseconds(wait_s)}', true),"
            f" set_config('idle_in_transaction_session_timeout', '{_STANDSTILL_S}s', true)"
            f"{'' if is_durable else _NOT_DURABLE}",
            f"WITH locked AS MATERIALIZED (SELECT {takes} AS is_mine)"
            f" SELECT is_mine, {_CLOCK}, {lost_connections.MARKS} FROM locked",
        ]

    def _locked(self, wait_s: float) -> StoreLockedError:
        space, key = (int(part) % 2**32 for part in self._lock.split(","))
        with self._pool.use() as connection:
            found = connection.execute(
                "SELECT application_name, host(client_addr) FROM pg_locks JOIN pg_stat_activity USING (pid)"
                f" WHERE locktype = 'advisory' AND granted AND classid = '{space}' AND objid = '{key}'"
                " AND datname = current_database()"
            ).fetchone()
        holder = "a writer that has ended since" if found is None else " at ".join(filter(None, found))
        return StoreLockedError(
            f"the store has been locked for {wait_s:g} s",
            path=self.address.shown,
            why=f"{holder} holds it",
            next_step="wait until that process ends, or end it; the lock goes with it",
        )

    @contextmanager
    def _begun(
        self, begin: Callable[[PostgresConnection], None], *, is_read: bool = False
    ) -> Iterator[PostgresConnection]:
        """A connection with a transaction. One that was kept, and broke meanwhile, is replaced.

        is_read: whether it ends, with `ReadAbandonedError`, once nobody waits for it any more.
        """
        self._ready()
        while True:
            with self._pool.use() as connection, _abandoned(connection) if is_read else nullcontext():
                try:
                    begin(connection)
                except psycopg.OperationalError:
                    if connection.is_broken and connection.is_kept and not connection.is_cut_off:
                        continue
                    raise
                yield connection
                return

    # Commits

    def append(self, series: SeriesId, presumed: Presumed, now: int) -> Point | None:
        """Commit a write in one trip; None, and nothing is written, unless all is as presumed.

        Also where the server refuses: whoever writes it in another way hears why. now: its time, unless the
        server has a clock.
        """
        self.refuse_unwritable(series)
        time = None if self._has_clock else following(presumed.newest, now).as_of
        write = at_once.question(series, presumed, self._tables, time, self._channel, _CLOCK)
        with self.translated(series), self._pool.use() as connection:
            if self._has_moved(connection) or not connection.is_silent():
                return None
            try:
                found = connection.together([self._takes_lock, write])
            except psycopg.errors.LockNotAvailable as failure:
                raise self._locked(self._lock_timeout_s) from failure
            except psycopg.Error as failure:
                if not connection.is_broken:
                    return None
                found = []
                looks = partial(at_once.is_there, asked=write, session=connection.session, found=found)
                if not self._is_found(looks, failure):
                    raise lost_connections.not_kept(self.address) from failure
            finally:
                if self.notice is not None:
                    self.notice.committed()
        return Point(presumed.newest.tx + 1, found[0][0]) if found else None

    def commit(self, connection: Connection, newest: Point) -> None:
        """Make a commit durable."""
        assert isinstance(connection, PostgresConnection)
        connection.tells = f"NOTIFY {quoted(self._channel)}, '{newest.tx}'"
        self._commit(connection, partial(lost_connections.is_listed, newest=newest))

    def _commit(self, connection: PostgresConnection, is_kept: Callable[[PostgresConnection], bool]) -> None:
        """Commit. Where the connection is lost meanwhile, look whether it is there; never repeat it."""
        try:
            connection.commit()
        except psycopg.OperationalError as failure:
            if not connection.is_broken:
                raise
            if not self._is_found(is_kept, failure):
                raise lost_connections.not_kept(self.address) from failure

    def _is_found(self, is_kept: Callable[[PostgresConnection], bool], failure: psycopg.Error) -> bool:
        statements = self._beginning(lost_connections.SEARCH_S, is_durable=True)

        def begin(connection: PostgresConnection) -> None:
            connection.begin_writing(statements)

        return lost_connections.is_found(partial(self._begun, begin), is_kept, self.address, failure)

    def refuse_unwritable(self, series: SeriesId | None = None) -> None:
        """Raise `StoreError` if the store cannot be written."""
        self._ready()
        if self.read_only and not self._is_reader:
            with self.translated(), self._pool.use() as connection:
                self._look_whether_writable(connection)
        if self.read_only:
            raise self._unwritable(series)

    def _unwritable(self, series: SeriesId | None = None) -> StoreError:
        return StoreError(
            "the store cannot be written",
            path=self.address.shown,
            series=series,
            why=self._why_read_only,
            next_step="connect to a primary server, as a user with the right to write "
            "(its owner gives that: qmtl store grant writer USER)",
        )

    def _look_whether_writable(self, connection: PostgresConnection) -> None:
        """Look again: a replica may have been promoted since, a primary become one, or a right been given."""
        refuses = recognition.recognise(connection, self.address).refuses_writes
        if not refuses:
            timeline.note_tables(connection)
        self.read_only, self._why_read_only = bool(refuses), refuses

    def _refuse_replica(self, connection: PostgresConnection, failure: psycopg.Error) -> None:
        """Raise `StoreError` if a primary has become a replica, which begins no transaction that writes."""
        connection.finish()
        self._look_whether_writable(connection)
        if self.read_only:
            raise self._unwritable() from failure

    # What the store is

    def version(self) -> int:
        """A number that differs after each commit, report and acceptance, and of what was brought back.

        Raises `StoreError` where another store has taken the place of this one.
        """
        version, tables = self._asked(f"SELECT ({VERSION.sql}), {timeline.TABLES}")
        if tables != self._tables:
            with self.translated(), self._pool.use() as connection:
                self._identify(connection)
        return version

    def _asked(self, question: str) -> list[int]:
        """The numbers that a statement finds, outside a transaction."""
        found: list[Any] = []

        def ask(connection: PostgresConnection) -> None:
            found[:] = connection.execute(question).fetchone()

        with self.translated(), self._begun(ask, is_read=True):
            return [int(one) for one in found]

    def format(self) -> int:
        return self._format

    def size(self) -> int:
        """Bytes of all tables with their indexes."""
        sizes = (f"pg_total_relation_size('{name}')" for name in TABLES)
        return self._asked(f"SELECT {' + '.join(sizes)}")[0]

    def is_full(self, failure: BaseException | None) -> bool:
        return is_full(failure)

    def no_room(self, rows: int) -> StoreError:
        """The error of a compaction that found no room."""
        return StoreError(
            "there is no room left to compact the store",
            path=self.address.shown,
            why=f"{rows:,} rows are made anew at once, beside what is there, and then the server's log",
            next_step="free some space on the server and repeat; what was compacted stays",
        )

    def shrink(self) -> str:
        """Let the server use the room of deleted rows again."""
        with self.translated(), self._pool.use() as connection:
            said = [text for table in TABLES for text in connection.warned(f"VACUUM (ANALYZE) {table}")]
        # What it refuses to those who do not own a table is no more than a warning.
        return f"clearing up is left to the server's autovacuum; it says: {said[0]}" if said else ""

    def close(self) -> None:
        """Close all connections. The store cannot be used afterwards; a second call does nothing."""
        self._closed = True
        if self.notice is not None:
            self.notice.close()
        self._pool.close()

    def _ready(self) -> None:
        if self._closed:
            raise StoreError("the store is closed", path=self.address.shown, next_step="open it again")

    @contextmanager
    def translated(self, series: SeriesId | None = None, span: Span | None = None) -> Iterator[None]:
        """Turn what psycopg raises into errors of ours, and name in errors of ours where they happened."""
        try:
            yield
        except StoreError as failure:
            failure.path = failure.path or self.address.shown
            failure.series = failure.series or (None if series is None else str(series))
            raise
        except QmtlError:
            raise
        except psycopg.Error as failure:
            raise meaning(failure, self.address, series, span) from failure
        except (TypeError, ValueError) as failure:
            # Columns that somebody has altered since the store was opened give values of other types.
            if altered := self._altered():
                raise damaged_layout(self.address, altered) from failure
            raise

    def _altered(self) -> list[str]:
        try:
            with self._pool.use() as connection:
                return list(altered_columns(connection))
        except (psycopg.Error, StoreError):
            return []  # it cannot be asked now: what has failed is told as it is


@contextmanager
def _abandoned(connection: PostgresConnection) -> Iterator[None]:
    """End what the block does once nobody waits for it any more, at the server as well."""
    try:
        with watched(connection.cut_off):
            yield
    except psycopg.Error as failure:
        if not connection.is_cut_off:
            raise
        raise ReadAbandonedError("a read was abandoned", why="nobody waits for it any more") from failure


def _tables_of(connection: PostgresConnection) -> int:
    """Those that a transaction has, whatever was seen before it began."""
    (tables,) = connection.execute(*timeline.HELD).fetchone()
    return int(tables)


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))
