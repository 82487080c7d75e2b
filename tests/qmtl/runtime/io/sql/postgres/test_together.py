"""What need not wait for each other goes together; what is asked gets the answer that it would have got."""

from __future__ import annotations

import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qmtl.foundation.store_address import StoreAddress
from qmtl.foundation.timeline import Coverage
from qmtl.runtime.io.sql.dialect import Question, Telling, United
from qmtl.runtime.io.sql.postgres import together
from qmtl.runtime.io.sql.postgres.connection import PostgresConnection
from qmtl.runtime.io.sql.postgres.opening import opened
from qmtl.runtime.io.sql.postgres.sets import Asked
from qmtl.runtime.io.sql.postgres.store import PostgresStore
from qmtl.runtime.io.sql.postgres.together import Found, Statements
from qmtl.runtime.io.store.values import Write
from qmtl.runtime.testing.store_suites.bars import OTHER, SERIES, minutes, some_bars
from tests.qmtl.runtime.io.sql.postgres.test_notice import until

ALL = "SELECT id, price FROM kept ORDER BY id"
DEARER = "SELECT id FROM kept WHERE price > ? ORDER BY id"
INSERT = "INSERT INTO kept (id, price) VALUES (?1, ?2) ON CONFLICT (id) DO UPDATE SET price = excluded.price"
WRITING = ["BEGIN", "SELECT 1"]


@pytest.fixture
def connection(postgres_url: str) -> Iterator[PostgresConnection]:
    with closing(opened(StoreAddress.parse(postgres_url))) as one:
        one.execute("CREATE TEMP TABLE kept (id bigint PRIMARY KEY, price bigint)")
        yield one


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many statements went to a server together, each time that somebody waited for it."""
    found: list[int] = []
    made = Statements.made

    def counted(statements: Statements, given: Iterable[Asked]) -> list[Found]:
        listed = list(given)
        found.append(len(listed))
        return made(statements, listed)

    monkeypatch.setattr(Statements, "made", counted)
    return found


numbers = st.integers(0, 5)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.sampled_from([Question(ALL), Question(DEARER, (2,))])),
        st.tuples(st.just("queue"), st.lists(st.tuples(numbers, numbers), unique_by=lambda row: row[0])),
        st.tuples(st.just("write"), st.tuples(numbers, numbers)),
    ),
    max_size=12,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps, st.lists(st.sampled_from([Question(ALL), Question(DEARER, (2,)), Question(DEARER, (3,))])))
def test_whatever_is_foreseen_and_queued_answers_are_those_of_one_by_one(
    connection: PostgresConnection, some: list[tuple[str, Any]], foreseen: list[Question]
) -> None:
    connection.execute("DELETE FROM kept")
    connection.execute("INSERT INTO kept SELECT n, n FROM generate_series(0, 4) AS n")
    connection.begin_writing(WRITING, foreseen)
    kept = {number: number for number in range(5)}
    for kind, given_now in some:
        if kind == "ask":
            least = given_now.values[0] if given_now.values else None
            rows = [(n, p) if least is None else (n,) for n, p in sorted(kept.items())]
            if least is not None:
                rows = [(n,) for n, p in sorted(kept.items()) if p > least]
            assert connection.execute(*given_now).fetchall() == rows
        elif kind == "queue":
            connection.queue(INSERT, given_now)
            kept.update(given_now)
        else:
            assert connection.execute(INSERT, given_now).rowcount == 1
            kept[given_now[0]] = given_now[1]
    connection.commit()
    assert connection.execute(ALL).fetchall() == sorted(kept.items())


def test_the_first_that_fails_is_raised_and_none_behind_it_is_made(connection: PostgresConnection) -> None:
    connection.begin_writing(WRITING)
    connection.queue("INSERT INTO kept (id, price) VALUES (?, ?)", [(1, 1)])
    connection.queue("INSERT INTO kept (id, price) VALUES (?, ?)", [(1, 2)])
    with pytest.raises(psycopg.errors.UniqueViolation):
        connection.commit()
    assert connection.finish()
    assert connection.execute(ALL).fetchall() == []


def test_a_connection_is_as_good_as_new_after_a_failure(connection: PostgresConnection) -> None:
    """What is prepared in the midst of a failing batch is not there: nobody may believe that it is."""
    questions = [Question(f"SELECT {number}") for number in range(6)]
    for _ in range(2):
        for failing in range(6):
            for _ in range(2):
                connection.begin_reading(questions[:failing])
                connection.finish()
            batch = [*questions[:failing], Question("SELECT 1 / 0"), *questions[failing:]]
            with pytest.raises(psycopg.errors.DivisionByZero):
                connection.begin_reading(batch)
            assert connection.finish()
            connection.begin_reading(questions)
            assert [connection.execute(*one).fetchone() for one in questions] == [(n,) for n in range(6)]
            connection.finish()


def test_a_value_that_cannot_be_sent_leaves_nobody_waiting(connection: PostgresConnection) -> None:
    too_large = Asked("SELECT $1", [2**70])
    with pytest.raises((struct.error, OverflowError)):  # of psycopg in Python, and in C
        connection.begin_writing(WRITING, [Question(ALL), Question("SELECT ?", too_large.values)])
    assert connection.is_broken, "what was to go before it is not waited for"
    with pytest.raises(psycopg.OperationalError):
        connection.execute(ALL)


def test_a_lost_connection_is_an_error_and_nothing_is_logged(
    connection: PostgresConnection, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket(fileno=connection.raw.fileno()) as line:
        line.shutdown(socket.SHUT_RDWR)
        line.detach()
    connection.queue(INSERT, [(n, n) for n in range(3)])
    with pytest.raises(psycopg.OperationalError):
        connection.execute(ALL)
    with pytest.raises(psycopg.OperationalError):
        connection.execute(ALL)
    assert not caplog.records


def test_damage_that_only_foresight_met_spoils_nothing(connection: PostgresConnection) -> None:
    connection.execute(
        "CREATE FUNCTION pg_temp.damaged() RETURNS bigint LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'a page' USING ERRCODE = 'data_corrupted'; END $$"
    )
    damaged = Question("SELECT pg_temp.damaged()")
    connection.begin_reading([Question(ALL), damaged])
    assert connection.execute(ALL).fetchall() == []
    with pytest.raises(psycopg.errors.DataCorrupted):
        connection.survivable(*damaged)
    assert connection.execute(ALL).fetchall() == [], "the transaction goes on"


BY_NUMBER = "SELECT price FROM kept WHERE id <= ? ORDER BY id"


@pytest.mark.parametrize("portions", [[], [[1]], [[3, 1], [2, 2, 9], [0], [4], [5, 1], [8], [7, 6]] * 3])
def test_answers_that_come_in_turn_are_those_of_one_by_one(
    connection: PostgresConnection, portions: list[list[int]]
) -> None:
    connection.execute("INSERT INTO kept SELECT n, 10 * n FROM generate_series(1, 9) AS n")
    asked = [[(number,) for number in some] for some in portions]
    for _ in range(3):  # also once it is prepared
        with closing(connection.each_in_turn(BY_NUMBER, asked)) as found:
            answers = list(found)
        assert answers == [
            [[(10 * n,) for n in range(1, number + 1)] for number in some] for some in portions
        ]
        assert connection.execute(ALL).rowcount == 9


def test_who_wants_no_more_answers_leaves_the_connection_as_it_was(connection: PostgresConnection) -> None:
    connection.execute("INSERT INTO kept SELECT n, n FROM generate_series(1, 9) AS n")
    for taken in range(6):
        connection.begin_reading()
        with closing(connection.each_in_turn(BY_NUMBER, [[(n,)] for n in range(6)])) as found:
            for _ in range(taken):
                next(found)
        assert connection.execute(ALL).rowcount == 9
        assert connection.finish()


def test_the_first_answer_that_fails_is_raised_in_its_turn(connection: PostgresConnection) -> None:
    connection.execute("INSERT INTO kept SELECT n, n FROM generate_series(1, 9) AS n")
    sql = "SELECT 6 / (4 - CAST(? AS bigint)) FROM kept"
    for _ in range(3):
        connection.begin_reading()
        taken: list[Any] = []
        with (
            closing(connection.each_in_turn(sql, [[(n,)] for n in range(9)])) as found,
            pytest.raises(psycopg.errors.DivisionByZero),
        ):
            taken += found
        assert len(taken) == 4
        assert connection.finish()
        assert connection.execute(ALL).rowcount == 9


def test_nothing_is_asked_between_answers_that_come_in_turn(connection: PostgresConnection) -> None:
    """Whoever did would take them for those of its own, or wait for ever."""
    connection.execute("INSERT INTO kept VALUES (1, 1)")
    found = connection.each_in_turn(BY_NUMBER, [[(n,)] for n in range(9)])
    assert next(found) == [[]]
    assert connection.execute(ALL).fetchall() == [(1, 1)]
    with pytest.raises(RuntimeError, match="before the answers of others"):
        next(found)
    assert connection.execute(ALL).fetchall() == [(1, 1)]


def test_a_connection_that_is_lost_between_answers_is_an_error(connection: PostgresConnection) -> None:
    found = connection.each_in_turn("SELECT pg_sleep(?)::text", [[(0,)], [(0,)], [(300,)], [(0,)]])
    assert next(found) == [[("",)]]
    with socket.socket(fileno=connection.raw.fileno()) as line:
        line.shutdown(socket.SHUT_RDWR)
        line.detach()
    with pytest.raises(psycopg.OperationalError):
        list(found)
    assert connection.is_broken


@pytest.mark.parametrize("taken", [0, 1, 4])
def test_a_session_that_is_ended_between_answers_is_told_as_what_it_is(
    connection: PostgresConnection, postgres_url: str, taken: int
) -> None:
    """Also where the next statements cannot even be sent any more. The words of the server may not come:

    a system that is told that the other side is gone may throw away what it has said before.
    """
    is_there = "SELECT 1 FROM pg_stat_activity WHERE pid = ?"
    found = connection.each_in_turn("SELECT CAST(? AS bigint)", [[(n,)] for n in range(9)])
    for number in range(taken):
        assert next(found) == [[(number,)]]
    with closing(opened(StoreAddress.parse(postgres_url))) as other:
        other.execute("SELECT pg_terminate_backend(CAST(? AS integer))", (connection.session,))
        until(lambda: other.execute(is_there, (connection.session,)).fetchone() is None)
    with pytest.raises(psycopg.OperationalError, match=r"due to administrator command|closed the connection"):
        list(found)
    assert connection.is_broken


def test_a_question_may_tell_the_answers_of_others(connection: PostgresConnection, rounds: list[int]) -> None:
    connection.execute("INSERT INTO kept SELECT n, 10 * n FROM generate_series(1, 5) AS n")
    price = "SELECT price FROM kept WHERE id = ?"

    def told(rows: Sequence[Any]) -> list[tuple[Question, list[Any]]]:
        return [(Question(price, (number,)), [(found,)]) for number, found in rows]

    some = United([Telling("SELECT id, price FROM kept WHERE id BETWEEN ? AND ?", (2, 4), told)], ("nn",))
    for values in ([4], [3, 2], [4, 5], [1]):
        connection.begin_reading([some])
        rounds.clear()
        answers = [list(found) for found in connection.each(price, [(value,) for value in values])]
        assert answers == [[(10 * value,)] for value in values]
        assert len(rounds) == (0 if set(values) <= {2, 3, 4} else 1)
        assert connection.finish()


def test_how_often_a_server_is_waited_for(postgres_url: str, rounds: list[int]) -> None:
    """A durable bar waits for its server twice, and a small read of a series that is known once."""
    with PostgresStore(postgres_url) as store:
        for series in (SERIES, OTHER):
            store.commit(series, Write("v", 1, some_bars(0, 100), Coverage.of(minutes(0, 100))))
        store.read(OTHER, minutes(10, 90))
        rounds.clear()
        store.commit(SERIES, Write("v", 2, some_bars(100, 1), Coverage.of(minutes(100, 101))))
        assert len(rounds) == 2, "what is known, and what is new"
        rounds.clear()
        assert store.read(OTHER, minutes(10, 90)).frame.height == 80
        assert len(rounds) == 1, "what the index says, and the bytes"


def test_what_was_sent_without_waiting_ends_before_anything_else(connection: PostgresConnection) -> None:
    statements = Statements(connection.raw)
    statements.sent([Asked("INSERT INTO kept VALUES (1, 1)", [])], ends=True)
    statements.sent(
        [Asked("INSERT INTO kept VALUES (1, 2)", []), Asked("INSERT INTO kept VALUES (2, 2)", [])]
    )
    with pytest.raises(psycopg.errors.UniqueViolation):
        statements.made([Asked("INSERT INTO kept VALUES (3, 3)", [])])
    (found,) = statements.made([Asked(ALL, [])])
    assert found.fetchall() == [(1, 1)], "none behind the one that failed was made"
    statements.sent([Asked("DELETE FROM kept", [])])
    statements.settle()
    assert connection.raw.execute(ALL).fetchall() == [], "psycopg may use the connection again"


def test_a_writer_that_is_given_up_undoes_what_was_sent_and_what_has_failed(
    connection: PostgresConnection,
) -> None:
    for rows in ([(1, 1)], [(1, 1), (1, 2)]):
        connection.begin_writing(WRITING)
        connection.commits = lambda: None
        for row in rows:
            connection.queue("INSERT INTO kept (id, price) VALUES (?, ?)", [row])
        assert connection.finish()
        assert connection.execute(ALL).fetchall() == []


def test_a_reader_that_ends_keeps_nothing_open(connection: PostgresConnection) -> None:
    connection.begin_reading()
    assert connection.finish()
    connection.script(b"INSERT INTO kept VALUES (7, 7)")
    assert connection.execute(ALL).fetchall() == [(7, 7)]


def test_statements_that_were_not_used_for_long_are_forgotten(
    connection: PostgresConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(together, "_PREPARED", 3)
    monkeypatch.setattr(together, "_REMEMBERED", 5)
    prepared = "SELECT count(*) FROM pg_prepared_statements"
    for number in [*range(9), *range(9), *range(4, 9), *range(9)] * 2:
        for _ in range(3):
            assert connection.execute(f"SELECT {number}").fetchone() == (number,)
        assert connection.execute(prepared).fetchone()[0] <= 4


def test_rows_are_given_once_and_in_order() -> None:
    found = Found([(1,), (2,), (3,), (4,)], 4, "SELECT 4")
    assert (found.fetchone(), found.fetchmany(2), found.fetchall()) == ((1,), [(2,), (3,)], [(4,)])
    assert (found.fetchone(), found.fetchall(), list(found)) == (None, [], [])
    assert [row for (row,) in Found([(1,), (2,)], 2, "")] == [1, 2]


CHILD = """
import sys
from qmtl.foundation.store_address import StoreAddress
from qmtl.runtime.io.sql.postgres.opening import opened

connection = opened(StoreAddress.parse(sys.argv[1]))
# A server that does not look whether anybody is there, as none but Linux can.
connection.script(b"SET client_connection_check_interval = 0")
print(connection.session, flush=True)
try:
    connection.execute("SELECT pg_sleep(300)::text")
except KeyboardInterrupt:
    print("interrupted", connection.is_broken, flush=True)
sys.stdin.readline()
"""


def test_an_interrupt_ends_what_the_server_does_and_the_connection(
    connection: PostgresConnection, postgres_url: str
) -> None:
    command = [sys.executable, "-c", CHILD, postgres_url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        session = int(child.stdout.readline())
        sleeps = "SELECT 1 FROM pg_stat_activity WHERE pid = ? AND wait_event = 'PgSleep'"
        until(lambda: connection.execute(sleeps, (session,)).fetchone() is not None)
        child.send_signal(signal.SIGINT)
        assert child.stdout.readline() == "interrupted True\n"
        until(lambda: connection.execute(sleeps, (session,)).fetchone() is None)
        child.stdin.write("\n")
