"""Statements go to the server together: prepared, and in one round trip.

The cursors of psycopg do that as well (`Connection.pipeline`), but send each statement by itself, which takes
as long as the server does; and after an error they take statements for prepared that are not. What is here
are libpq's own calls, with psycopg's types. Its waiting sets up anew for each answer what it waits with,
which took longer for a live bar than all else that is done here.
"""

from __future__ import annotations

import select
from collections import OrderedDict, deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from enum import Enum, auto
from itertools import islice
from typing import Any, NamedTuple

import psycopg
from psycopg.adapt import PyFormat, Transformer
from psycopg.generators import send
from psycopg.pq import ConnStatus, ExecStatus, Format, PipelineStatus
from psycopg.pq.abc import PGresult

from qmtl.runtime.io.sql.postgres import cancelling
from qmtl.runtime.io.sql.postgres.sets import Asked

# So many texts are remembered, and so many statements prepared: each at its second use.
_REMEMBERED, _PREPARED = 1_000, 500
# Answers that are on their way while somebody looks at one.
_AHEAD = 3
# A wait without an end would not notice Ctrl-C, as polars sets it up. How long the server then is told that
# nobody waits any more.
_LOOK_EVERY_MS, _CANCEL_S = 100, 5.0
# Python 3.11 looks a member of an enumeration up anew, through functions of Python, wherever it is named.
_AUTO, _BINARY, _OFF = PyFormat.AUTO, Format.BINARY, PipelineStatus.OFF
_SYNC, _ROWS = ExecStatus.PIPELINE_SYNC, ExecStatus.TUPLES_OK
_FAILED = (ExecStatus.FATAL_ERROR, ExecStatus.PIPELINE_ABORTED)


class Found:
    """What a statement has found or done. Implements `Cursor`.

    status: such as `COMMIT`; empty where rows came.
    """

    def __init__(self, rows: list[tuple[Any, ...]], rowcount: int, status: str) -> None:
        self._rows = iter(rows)
        self.rowcount, self.status = rowcount, status

    def fetchone(self) -> Any:
        return next(self._rows, None)

    def fetchall(self) -> list[Any]:
        return list(self._rows)

    def fetchmany(self, size: int = 1) -> list[Any]:
        return list(islice(self._rows, size))

    def __iter__(self) -> Iterator[Any]:
        return self._rows

    def close(self) -> None:
        self._rows = iter(())


class _Key(NamedTuple):
    """Statements of one text are different ones where their values have different types."""

    text: str
    types: tuple[int, ...]


class _Coming(Enum):
    """What an answer will be that prepares nothing."""

    ANSWER, END = auto(), auto()


_ANSWER, _END = _Coming.ANSWER, _Coming.END


class Statements:
    """Makes statements on one connection, and remembers which of them are prepared."""

    def __init__(self, raw: psycopg.Connection[Any]) -> None:
        self._raw, self._pgconn = raw, raw.pgconn
        self._line = select.poll()
        self._line.register(self._pgconn.socket, select.POLLIN)
        # It knows how to send and how to read each type of value once it has met it.
        self._types = Transformer(raw)
        self._seen: OrderedDict[_Key, None] = OrderedDict()
        self._names: OrderedDict[_Key, bytes] = OrderedDict()
        self._count = 0
        # Of each answer that is still to come, what it will be: that of a statement, or of one that was
        # prepared, or the end of a round.
        self._coming: list[_Coming | _Key] = []

    def made(self, statements: Iterable[Asked]) -> list[Found]:
        """What statements have found or done, made in their order.

        Raises the error of the first that fails, also of those that were sent before; none behind it is
        made. Where anything else is raised, such as `KeyboardInterrupt`, or the error of a value that cannot
        be sent, the connection is closed: nobody knows what is on its way.
        """
        given = list(statements)
        try:
            self._send(given, ends=True)
            results = self._answers(len(self._coming))
            self._pgconn.exit_pipeline_mode()
        except BaseException as failure:
            said = self._last_words(failure)
            self._close()
            if said is not None:
                raise said from failure
            raise
        expected, self._coming = self._coming, []
        found = self._read(expected, results)
        self._forget()
        return found[len(found) - len(given) :]

    def made_in_turn(self, statements: Iterable[Asked]) -> Generator[Found, None, None]:
        """What each statement has found, while the server makes the next few; none is made in between.

        Raises the error of a statement in its turn; those behind it come to nothing. Whoever may want no
        more of them closes the iterator before anything else is asked.
        """
        self.settle()
        left, lengths, mine = iter(statements), deque[int](), self._coming
        try:
            lengths += self._send_rounds(islice(left, _AHEAD))
            while lengths:
                if self._coming is not mine:
                    raise RuntimeError("a statement was made before the answers of others had come")
                length = lengths.popleft()
                results = self._answers(length)
                expected = mine[:length]
                del mine[:length]
                (found,) = self._read(expected, results)
                lengths += self._send_rounds(islice(left, 1))
                yield found
        except psycopg.OperationalError as failure:
            if (said := self._last_words(failure)) is not None:
                raise said from failure
            raise
        except KeyboardInterrupt:
            self._close()  # nobody waits for what is on its way
            raise
        finally:
            if self._coming is mine:
                self._drop_what_comes()

    def _send_rounds(self, statements: Iterable[Asked]) -> list[int]:
        """Send statements, each as a round of its own; how many answers each of them has."""
        lengths = []
        try:
            for statement in statements:
                before = len(self._coming)
                self._send([statement], ends=True)
                lengths.append(len(self._coming) - before)
        except psycopg.OperationalError:
            raise  # what the server has said of it may still be read
        except BaseException:
            self._close()
            raise
        return lengths

    def _last_words(self, failure: BaseException) -> psycopg.Error | None:
        """What the server had said when the connection was lost, if the failure does not tell.

        libpq keeps what has come by then, and itself only says that the connection is gone.
        """
        if not isinstance(failure, psycopg.OperationalError) or failure.sqlstate is not None:
            return None
        with suppress(psycopg.Error):
            for _ in range(2 * len(self._coming)):  # an answer, and its end
                if self._pgconn.status == ConnStatus.OK or self._pgconn.is_busy():
                    break
                result = self._pgconn.get_result()
                if result is not None and result.status in _FAILED:
                    said = psycopg.errors.error_from_result(result)
                    if said.sqlstate is not None:
                        return said
        return None

    def _drop_what_comes(self) -> None:
        """Wait for what nobody wants any more. A connection that is lost meanwhile stays lost."""
        if self._pgconn.status != ConnStatus.OK:
            self._close()
            return
        try:
            results = self._answers(len(self._coming))
            self._pgconn.exit_pipeline_mode()
        except BaseException as failure:
            self._close()
            if isinstance(failure, psycopg.OperationalError):
                return
            raise
        expected, self._coming = self._coming, []
        with suppress(psycopg.Error):
            self._read(expected, results)

    def sent(self, statements: Iterable[Asked], *, ends: bool = False) -> None:
        """Send statements, and wait for nothing. Whether they fail is told by the next ones that are `made`.

        ends: whether those that are sent later are made even if one of these has failed.
        """
        try:
            self._send(statements, ends=ends)
        except BaseException:
            self._close()
            raise

    def settle(self) -> None:
        """Wait for what was sent: only then may psycopg use the connection by itself."""
        if self._coming:
            self.made([])

    def is_silent(self) -> bool:
        """Whether the server has said nothing that nobody waits for, such as that the session ends."""
        return not self._line.poll(0)

    def _close(self) -> None:
        self._coming = []
        with suppress(psycopg.Error):
            self._raw.close()

    def _send(self, statements: Iterable[Asked], *, ends: bool) -> None:
        """Send statements as one piece. ends: and end the round."""
        pgconn = self._pgconn
        if pgconn.pipeline_status == _OFF:
            pgconn.enter_pipeline_mode()
        for text, values in statements:
            self._add(text, values)
        if ends:
            pgconn.pipeline_sync()
            self._coming.append(_END)
        if pgconn.flush():  # more than the network takes at once
            self._raw.wait(send(pgconn))

    def _add(self, text: str, values: Sequence[Any]) -> None:
        pgconn, known = self._pgconn, self._types
        given = known.dump_sequence(values, [_AUTO] * len(values))
        types, formats = known.types or (), known.formats
        key = _Key(text, tuple(types))
        name = self._names.get(key)
        if name is None and key in self._seen:
            self._count += 1
            name = self._names[key] = b"qmtl%d" % self._count
            pgconn.send_prepare(name, text.encode(), types)
            self._coming.append(key)
        if name is None:
            self._remember(key)
            pgconn.send_query_params(text.encode(), given, types, formats, _BINARY)
        else:
            self._names.move_to_end(key)
            pgconn.send_query_prepared(name, given, formats, _BINARY)
        self._coming.append(_ANSWER)

    def _remember(self, key: _Key) -> None:
        self._seen[key] = None
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)

    def _answers(self, count: int) -> list[PGresult]:
        """The next answers that are still to come, so many of them."""
        pgconn = self._pgconn
        results: list[PGresult] = []
        first: PGresult | None = None
        try:
            while len(results) < count:
                while pgconn.is_busy():
                    if self._line.poll(_LOOK_EVERY_MS):
                        pgconn.consume_input()
                result = pgconn.get_result()
                if result is not None and result.status == _SYNC:
                    results.append(result)
                elif result is not None:
                    first = result if first is None else first
                elif first is not None:  # all of an answer was there
                    results.append(first)
                    first = None
        except KeyboardInterrupt:
            if (order := cancelling.order_to_cancel(pgconn)) is not None:
                cancelling.send(order, _CANCEL_S)
            raise
        return results

    def _read(self, expected: Sequence[_Coming | _Key], results: Sequence[PGresult]) -> list[Found]:
        found: list[Found] = []
        failure: psycopg.Error | None = None
        for what, result in zip(expected, results, strict=True):
            if what is _END:
                continue
            status = result.status
            if status == _ROWS:
                found.append(self._rows(result))
            elif status not in _FAILED:
                if what is _ANSWER:
                    found.append(
                        Found([], result.command_tuples or 0, (result.command_status or b"").decode())
                    )
            else:
                if isinstance(what, _Key):
                    self._names.pop(what, None)
                failure = failure or psycopg.errors.error_from_result(result)
        self._types.set_pgresult(None)  # or the last rows would stay in memory
        if failure is not None:
            raise failure
        return found

    def _rows(self, result: PGresult) -> Found:
        self._types.set_pgresult(result)
        return Found(self._types.load_rows(0, result.ntuples, tuple), result.ntuples, "")

    def _forget(self) -> None:
        """Let the server forget what was not used for long."""
        if (excess := len(self._names) - _PREPARED) > 0:
            gone = [self._names.popitem(last=False)[1] for _ in range(excess)]
            self.made([Asked(f"DEALLOCATE {name.decode()}", []) for name in gone])
