"""One connection to PostgreSQL, with the statements that stores on SQL engines share."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from itertools import islice
from typing import Any

import psycopg
from psycopg.adapt import AdaptersMap
from psycopg.pq import TransactionStatus
from psycopg.types.numeric import Int8BinaryDumper

from qmtl.runtime.io.sql.chunks import RowsElsewhere
from qmtl.runtime.io.sql.dialect import (
    Answer,
    Cursor,
    Dialect,
    Foreseen,
    NotForeseenError,
    Question,
    United,
    Values,
)
from qmtl.runtime.io.sql.postgres import timeline, united
from qmtl.runtime.io.sql.postgres.arrays import send_as_they_are
from qmtl.runtime.io.sql.postgres.cancelling import order_to_cancel, send
from qmtl.runtime.io.sql.postgres.dialect import POSTGRES, is_damage
from qmtl.runtime.io.sql.postgres.placeholders import translated
from qmtl.runtime.io.sql.postgres.sets import Asked, changed_by_each, found_by_each
from qmtl.runtime.io.sql.postgres.together import Found, Statements
from qmtl.runtime.io.store.waiting import current

# Values that one statement takes: each is in memory several times.
_AT_ONCE = 4096
# Damage that is met in a transaction which only reads undoes nothing but the failure itself.
_READING = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
# How much later than its caller the server gives up a statement by itself.
_GRACE_S = 0.5


class PostgresConnection:
    """Used by one thread at a time. Outside a transaction each statement is one of its own."""

    dialect: Dialect = POSTGRES

    def __init__(self, raw: psycopg.Connection[Any]) -> None:
        raw.prepare_threshold = None  # statements that are worth it are prepared by ours
        _keep_types(raw.adapters)
        self.raw = raw
        self.elsewhere: RowsElsewhere | None = None
        # Whether a COMMIT does, as the server was set up when this was opened.
        self.waits_for_disk = True
        self._statements = Statements(raw)
        # The number of the session at the server: a lost connection does not know it any more.
        self.session = raw.info.backend_pid
        # Whether it has been used before, and whether nobody waited any longer for what it was used for.
        self.is_kept = self.is_cut_off = False
        # When this was opened, or when somebody found that it had changed.
        self.standing = timeline.Standing(None, 0)
        # When the lock was taken, what makes a transaction that writes durable, and tells others of it.
        self.now: int | None = None
        self.commits: Callable[[], None] | None = None
        self.tells = ""
        # Answers to questions that nobody has asked yet, and whether there will be no others.
        self._foreseen: dict[tuple[str, tuple[Any, ...]], Found] = {}
        self._is_all = False

    @property
    def missing_behind(self) -> str:
        return timeline.why_missing(self)

    @property
    def is_broken(self) -> bool:
        return self.raw.closed

    def is_silent(self) -> bool:
        """Whether all is answered, and the server has said nothing since: such as that the session ends."""
        try:
            self._statements.settle()
        except psycopg.Error:
            return False
        return self._statements.is_silent()

    def together(self, questions: Sequence[Question]) -> list[Any]:
        """Make statements as a transaction of their own, in one trip; the rows of the last one."""
        return self._statements.made([_asked(question) for question in questions])[-1].fetchall()

    def execute(self, sql: str, values: Values = ()) -> Cursor:
        if sql == "COMMIT" and self.commits is not None:
            self.commits()
            return Found([], 0, "COMMIT")
        return self._foreseen_answer(sql, values) or self._run(_asked(Question(sql, values)))

    def _run(self, statement: Asked) -> Found:
        self._refuse_more()
        if not statement.text.startswith(("SELECT", "WITH")):
            self._foreseen.clear()
        return self._statements.made([statement])[-1]

    def _refuse_more(self) -> None:
        if self._is_all:
            raise NotForeseenError

    def _foreseen_answer(self, sql: str, values: Values) -> Found | None:
        """The answer to a question that was foreseen. It is given once."""
        return self._foreseen.pop(_key(sql, values), None) if self._foreseen else None

    def _foreseen_answers(self, sql: str, values: Sequence[Values]) -> list[Found] | None:
        """The answers to some questions, if all of them were foreseen."""
        if not self._foreseen:
            return None
        wanted = {_key(sql, one): None for one in values}
        if len(wanted) < len(values) or not wanted.keys() <= self._foreseen.keys():
            return None
        return [self._foreseen.pop(key) for key in wanted]

    def executemany(self, sql: str, values: Iterable[Values]) -> Found:
        return Found([], sum(self._run(one).rowcount for one in _changes(sql, values)), "")

    def queue(self, sql: str, values: Iterable[Values]) -> None:
        self._foreseen.clear()
        self._statements.sent(_changes(sql, values))

    def each(self, sql: str, values: Sequence[Values]) -> Iterator[Iterable[Any]]:
        if (foreseen := self._foreseen_answers(sql, values)) is not None:
            return iter(foreseen)
        if len(values) < 2:
            return (self.survivable(sql, one) for one in values)
        with self._surviving():
            cursor = self._run(found_by_each(sql, values))
        return iter(_by_value(cursor, len(values)))

    def each_in_turn(
        self, sql: str, portions: Iterable[Sequence[Values]]
    ) -> Generator[list[list[Any]], None, None]:
        self._refuse_more()
        some = list(portions)
        asked = (found_by_each(sql, values) for values in some)
        with self._surviving(), closing(self._statements.made_in_turn(asked)) as found:
            for values, cursor in zip(some, found, strict=True):
                yield _by_value(cursor, len(values))

    def batches(self, sql: str, size: int) -> Iterator[list[Any]]:
        self.execute(f"DECLARE found NO SCROLL CURSOR FOR {sql}")
        while some := self.execute(f"FETCH {size} FROM found").fetchall():
            yield some
        self.execute("CLOSE found")

    def remembered(self, key: Hashable, find: Callable[[], Answer]) -> Answer:
        return find()

    def survivable(self, sql: str, values: Values = ()) -> Cursor:
        """As `execute`; after damage the transaction goes on. What was read stays at its commit."""
        if (found := self._foreseen_answer(sql, values)) is not None:
            return found
        with self._surviving():
            return self.execute(sql, values)

    @contextmanager
    def _surviving(self) -> Iterator[None]:
        is_writing = self.commits is not None
        if is_writing:
            self.execute("SAVEPOINT whole")
        try:
            yield
        except psycopg.Error as failure:
            if is_damage(failure):
                self.execute("ROLLBACK TO SAVEPOINT whole")
            raise
        if is_writing:
            self.execute("RELEASE SAVEPOINT whole")

    def begin_reading(self, foreseen: Sequence[Foreseen] = (), *, is_all: bool = False) -> None:
        """Begin a transaction whose statements all see the same commits. is_all: and end it.

        None of them may take longer than the caller waits: where no word reaches the server, it ends them
        itself a little later.
        """
        wait = current()
        left = None if wait is None else wait.left_s
        limit = [] if left is None else [f"SET LOCAL statement_timeout = {round((left + _GRACE_S) * 1000)}"]
        self._is_all = is_all
        if is_all and not limit and len(foreseen) == 1:
            self._begin([], foreseen)  # a statement alone sees the same commits all along
        else:
            self._begin([_READING, *limit, *([] if is_all else ["SAVEPOINT whole"])], foreseen)

    def begin_writing(self, statements: Sequence[str], foreseen: Sequence[Foreseen] = ()) -> tuple[Any, ...]:
        """Begin a transaction by statements, the last of which takes the lock; what it answers."""
        answer: tuple[Any, ...] = self._begin(statements, foreseen)[-1].fetchone() or ()
        return answer

    def _begin(self, statements: Sequence[str], foreseen: Sequence[Foreseen]) -> list[Found]:
        """Begin a transaction by statements, and ask questions that somebody will ask; what they have found.

        Where those are all, end it as well.
        """
        asked = [_asked(question) for question in foreseen]
        ends = ["ROLLBACK"] if self._is_all and statements else []
        try:
            found = self._statements.made([*_plain(statements), *asked, *_plain(ends)])
        except psycopg.Error as failure:
            if not (foreseen and is_damage(failure)):
                raise
            # Whoever asks the question that met it knows what to do, and may never ask it.
            if self._is_within():
                self.script(b"ROLLBACK")
            return self._begin(statements, ())
        self._foreseen = {}
        answers = found[len(statements) : len(statements) + len(asked)]
        for question, answer in zip(foreseen, answers, strict=True):
            for other, rows in _told(question, answer.fetchall()):
                self._foreseen[_key(*other)] = Found(rows, len(rows), "")
        return found[: len(statements)]

    def commit(self) -> None:
        """Commit. The server answers a COMMIT of a transaction that has failed by undoing it."""
        self._foreseen.clear()
        ends = [one for one in (self.tells, "COMMIT") if one]
        if self._statements.made(_plain(ends))[-1].status != "COMMIT":
            raise psycopg.errors.InFailedSqlTransaction("the transaction had failed, and was undone")

    def script(self, statements: bytes) -> None:
        """Statements without values, in one round trip."""
        self._statements.settle()
        psycopg.Cursor(self.raw).execute(statements)

    def warned(self, statement: str) -> list[str]:
        """Make a statement outside a transaction; the warnings of the server."""
        said: list[str] = []

        def hear(diagnostic: psycopg.errors.Diagnostic) -> None:
            if diagnostic.severity_nonlocalized == "WARNING":
                said.append(diagnostic.message_primary or "")

        self.raw.add_notice_handler(hear)
        try:
            self.script(statement.encode())
        finally:
            self.raw.remove_notice_handler(hear)
        return said

    def finish(self) -> bool:
        """End the transaction that is open, if any; whether the connection can be used again."""
        was_writing = self.commits is not None
        self.now, self.commits, self.tells = None, None, ""
        self._foreseen, self._is_all = {}, False
        self.is_kept = True
        if self.is_cut_off:
            self.raw.close()
        elif self._is_within() and not self.raw.closed:
            try:
                # A writer has the lock until the server has answered; a reader keeps nobody waiting.
                end = _plain(["ROLLBACK"])
                if was_writing:
                    with suppress(psycopg.Error):  # what nobody asks about any more
                        self._statements.settle()
                    self._statements.made(end)
                else:
                    self._statements.sent(end, ends=True)
            except psycopg.OperationalError:
                self.raw.close()  # the error that broke it was raised already
        return not self.raw.closed

    def _is_within(self) -> bool:
        """Whether there is a transaction."""
        return self.raw.pgconn.transaction_status != TransactionStatus.IDLE

    def cut_off(self) -> None:
        """Let whoever waits on this connection have an error at once; the server ends what it does for it.

        From any thread, and without waiting: a network that stands still delays only the word to the server.
        """
        self.is_cut_off = True
        with suppress(psycopg.OperationalError, OSError):  # it is gone already
            order = order_to_cancel(self.raw.pgconn)
            with socket.socket(fileno=os.dup(self.raw.fileno())) as line:
                line.shutdown(socket.SHUT_RDWR)
            if order is not None:
                threading.Thread(target=send, args=(order,), name="qmtl-cancel", daemon=True).start()

    def close(self) -> None:
        self.raw.close()


def _by_value(cursor: Found, values: int) -> list[list[Any]]:
    """The rows of `found_by_each` that each of so many values has found."""
    found: list[list[Any]] = [[] for _ in range(values)]
    for row in cursor:
        found[row[0] - 1].append(row[1:])
    return found


def _plain(statements: Sequence[str]) -> list[Asked]:
    """Statements without values."""
    return [Asked(one, []) for one in statements]


def _asked(question: Foreseen) -> Asked:
    if isinstance(question, United):
        return united.statement_of(question)
    statement = translated(question.sql)
    return Asked(statement.text, statement.ordered(question.values))


def _told(question: Foreseen, rows: list[Any]) -> Iterable[tuple[Question, list[Any]]]:
    """The questions that rows answer, each with those that it finds."""
    return united.told(question, rows) if isinstance(question, United) else [(question, rows)]


def _key(sql: str, values: Values) -> tuple[str, tuple[Any, ...]]:
    """By which an answer that was foreseen is found: who asks names the values in the same order."""
    return sql, tuple(values.values() if isinstance(values, dict) else values)


def _changes(sql: str, values: Iterable[Values]) -> Iterator[Asked]:
    """The statements that change rows by each of the values."""
    coming = iter(values)
    while some := list(islice(coming, _AT_ONCE)):
        yield _asked(Question(sql, some[0])) if len(some) == 1 else changed_by_each(sql, some)


def _keep_types(adapters: AdaptersMap) -> None:
    """Send every number as a bigint, whatever its size: a statement is prepared once. Truths are counted."""
    for kind in (int, bool):
        adapters.register_dumper(kind, Int8BinaryDumper)
    send_as_they_are(adapters)
