"""Few rows by PostgreSQL's protocol: bit by bit those of an export, or none."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from qmtl.foundation.errors import StoreError
from qmtl.foundation.frames import VALUES
from qmtl.foundation.series import SeriesId
from qmtl.runtime.io.questdb import wire
from qmtl.runtime.io.questdb.server import QuestDBServer as Client
from qmtl.runtime.io.questdb.store import QuestDBStore
from qmtl.runtime.io.store.rows import Rows, allocate
from qmtl.runtime.testing.store_suites.bars import SERIES, minutes, some_bars, write
from tests.qmtl.ports import free_port
from tests.qmtl.questdb import PASSWORD, USER, QuestDBServer, questdb_jar

pytestmark = pytest.mark.usefixtures("small_chunks")

Opened = Callable[..., QuestDBStore]

PRICE = st.floats(allow_nan=False, allow_infinity=False)
VOLUME = st.none() | PRICE
ROW = st.tuples(st.integers(-(2**63) + 1, 2**63 - 1), PRICE, PRICE, PRICE, PRICE, VOLUME)
# What a store may hold; every number of it has bits that a text or a smaller type would lose.
ODD = [0.0, -0.0, 5e-324, -2.2250738585072014e-308, 1.7976931348623157e308, 0.1, 1 / 3, 1e-17, 123456.789]


def message(tag: bytes, body: bytes) -> bytes:
    return tag + struct.pack(">i", len(body) + 4) + body


def row(*values: int | float | None) -> bytes:
    """A row as the protocol has it, number by number."""
    body = struct.pack(">h", len(values))
    for value in values:
        if value is None:
            body += struct.pack(">i", -1)
        else:
            body += struct.pack(">iq" if isinstance(value, int) else ">id", 8, value)
    return message(b"D", body)


START, END = message(b"1", b"") + message(b"2", b""), message(b"C", b"SELECT\0") + message(b"Z", b"I")


def received(answer: bytes, cuts: list[int]) -> tuple[bytes, str | None]:
    """The rows of an answer that comes in pieces, and why it is refused."""
    so_far, walk = bytearray(), wire.Walk()
    for first, last in zip([0, *cuts], [*cuts, len(answer)], strict=True):
        assert not walk.is_over
        so_far += answer[first:last]
        walk = wire.walked(so_far, walk)
    assert walk.is_over
    assert walk.at == len(answer)
    return bytes(so_far[walk.first : walk.last]), walk.why


@given(st.lists(ROW, min_size=1, max_size=20), st.data())
def test_numbers_come_bit_by_bit_however_an_answer_is_cut(
    rows: list[tuple[int, float, float, float, float, float | None]], data: st.DataObject
) -> None:
    answer = START + b"".join(row(*one) for one in rows) + END
    cuts = sorted(data.draw(st.sets(st.integers(1, len(answer) - 1), max_size=6)))
    found, why = received(answer, cuts)
    assert why is None
    target = allocate(len(rows))
    assert wire.fill(found, target)
    expected = [
        np.array(column, dtype=kind) for column, kind in zip(zip(*rows, strict=True), "qddddd", strict=True)
    ]
    for mine, theirs in zip(target[:-1], expected, strict=False):
        assert mine.tobytes() == theirs.tobytes()
    missing = np.array([one[-1] is None for one in rows])
    assert np.array_equal(np.isnan(target.volume), missing)
    assert target.volume[~missing].tobytes() == expected[-1][~missing].tobytes()
    assert not wire.fill(found, allocate(len(rows) + 1))
    assert not wire.fill(found, allocate(len(rows) - 1))


@pytest.mark.parametrize(
    "other",
    [
        row(1, 1.0, 1.0, 1.0, 1.0),
        row(1, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0),
        row(1, 1.0, None, 1.0, 1.0, 1.0),
        row(1, None, 1.0, 1.0, 1.0, None),
        message(b"D", struct.pack(">h", 6) + (struct.pack(">if", 4, 1.0) * 6)),
        message(b"D", struct.pack(">h", 5) + (struct.pack(">iq", 8, 1) * 6)),
        message(b"D", struct.pack(">h", 6) + struct.pack(">i", 68) + bytes(68)),
        b"",
    ],
)
def test_rows_that_are_none_of_bars_are_none(other: bytes) -> None:
    good = row(1, 1.0, 1.0, 1.0, 1.0, 1.0)
    for rows, count in ((other, 1), (good + other, 2), (other + good, 2)):
        found, _ = received(START + rows + END, [])
        assert not wire.fill(found, allocate(count))


def test_a_refusal_is_told_and_the_answer_is_read_to_its_end() -> None:
    refusal = message(b"E", b"SERROR\0C00000\0Mtable does not exist [table=x]\0\0")
    assert received(refusal + message(b"Z", b"I"), [3])[1] == "table does not exist [table=x]"
    with pytest.raises(wire.WireError, match="a message of 0 bytes"):
        wire.walked(bytearray(b"D\0\0\0\0rest"), wire.Walk())


def with_pg(url: str, port: int) -> str:
    return f"{url}&pg={port}"


@pytest.fixture(scope="module")
def pg_server(questdb_server: QuestDBServer) -> Iterator[QuestDBServer]:
    """One that speaks the protocol, as that of the other tests does not."""
    jar = questdb_jar()
    assert jar is not None, "that of the other tests was started with it"
    made = QuestDBServer(jar, settings={"pg.enabled": "true"})
    yield made
    made.remove()


@pytest.fixture
def url(pg_server: QuestDBServer, tmp_path: Path) -> str:
    return pg_server.url(tmp_path / "catalog", f"wire_{uuid4().hex}")


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements that were exported."""
    asked: list[str] = []
    export = Client.export
    monkeypatch.setattr(Client, "export", lambda self, sql: (asked.append(sql), export(self, sql))[1])
    return asked


def odd_bars(rows: int) -> pl.DataFrame:
    """Bars whose numbers nobody would trade at, some without a volume."""
    given = np.array(ODD)[np.arange(rows) % len(ODD)]
    return some_bars(0, rows).with_columns(
        *(pl.Series(name, np.roll(given, number)) for number, name in enumerate(VALUES[:-1])),
        pl.Series("volume", [None if number % 5 == 2 else abs(value) for number, value in enumerate(given)]),
    )


def test_both_ways_give_the_same_bits(
    pg_server: QuestDBServer, url: str, opened: Opened, exports: list[str]
) -> None:
    bars = odd_bars(1_000)
    opened(url).commit(SERIES, write(bars))
    by_wire = opened(with_pg(url, pg_server.pg_port), read_only=True)
    by_export = opened(url, read_only=True)
    for first, last in ((0, 1_000), (10, 11), (500, 513), (990, 1_000)):
        exports.clear()
        found = by_wire.read(SERIES, minutes(first, last)).frame
        assert exports == [], "all came by the wire"
        other = by_export.read(SERIES, minutes(first, last)).frame
        assert len(exports) == 1
        assert_frame_equal(found, bars.slice(first, last - first))
        for name in found.columns:
            mine, theirs = (frame[name].to_physical().fill_null(-7).to_numpy() for frame in (found, other))
            assert mine.tobytes() == theirs.tobytes(), name


def test_rows_that_are_edited_are_not_served_by_it_either(
    pg_server: QuestDBServer, url: str, opened: Opened
) -> None:
    store = opened(with_pg(url, pg_server.pg_port))
    store.commit(SERIES, write(some_bars(0, 50)))
    table = store._rows.table
    edited = minutes(20, 21)
    table.server.query(f"UPDATE {table.name} SET close = close + 0.5 WHERE ts = {edited.start}")
    table.settle()
    found = store.read(SERIES, minutes(0, 50))
    assert found.damaged.holds(np.array([edited.start])).all()
    assert found.frame.filter(pl.col("ts").to_physical() == edited.start).is_empty()
    assert 0 < found.frame.height < 50


@pytest.mark.parametrize("change", ["ADD COLUMN mine INT", "RENAME COLUMN volume TO traded", None])
def test_a_table_that_is_changed_between_two_questions_alike(
    pg_server: QuestDBServer, url: str, opened: Opened, exports: list[str], change: str | None
) -> None:
    """The server knows the text by then, and what it has made of it is of the table as it was."""
    store = opened(with_pg(url, pg_server.pg_port))
    bars = some_bars(0, 8)
    store.commit(SERIES, write(bars))
    table = store._rows.table
    exports.clear()
    for _ in range(3):
        assert_frame_equal(store.read(SERIES, minutes(0, 8)).frame, bars)
    assert exports == []
    table.server.query(f"DROP TABLE {table.name}" if change is None else f"ALTER TABLE {table.name} {change}")
    if change is not None:
        table.settle()
    if change is not None and "ADD" in change:
        assert_frame_equal(store.read(SERIES, minutes(0, 8)).frame, bars)
    else:
        with pytest.raises(StoreError, match="gone from QuestDB" if change is None else "was altered"):
            store.read(SERIES, minutes(0, 8))


def test_many_numbers_are_written_into_the_question(
    pg_server: QuestDBServer, url: str, opened: Opened, exports: list[str]
) -> None:
    store = opened(with_pg(url, pg_server.pg_port))
    bars = some_bars(0, 60)
    store.commit(SERIES, write(bars))
    exports.clear()
    for rows in (1, 8, 16, 24, 25, 60):
        assert_frame_equal(store.read(SERIES, minutes(0, rows)).frame, bars.head(rows))
    assert exports == []


def test_many_rows_and_several_series_come_by_an_export(
    pg_server: QuestDBServer,
    url: str,
    opened: Opened,
    exports: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("qmtl.runtime.io.questdb.filling._FEW_ROWS", 100)
    store = opened(with_pg(url, pg_server.pg_port))
    other = SeriesId.parse("ohlcv:many:OTHER:1m")
    store.commit_many({one: write(some_bars(0, 200)) for one in (SERIES, other)})
    exports.clear()
    store.read(SERIES, minutes(0, 96))
    assert exports == []
    store.read(SERIES, minutes(0, 200))
    assert len(exports) == 1
    store.read_many([SERIES, other], minutes(0, 10))
    assert len(exports) == 2


def test_a_connection_that_was_closed_is_opened_anew(
    pg_server: QuestDBServer, url: str, opened: Opened, exports: list[str]
) -> None:
    store = opened(with_pg(url, pg_server.pg_port))
    store.commit(SERIES, write(some_bars(0, 20)))
    exports.clear()
    store.read(SERIES, minutes(0, 20))
    assert store.questdb().pg_trouble is None
    kept = store._rows.table.server._wire._idle  # type: ignore[union-attr]
    assert len(kept) == 1
    kept[0].shutdown(socket.SHUT_RDWR)
    assert store.read(SERIES, minutes(0, 20)).frame.height == 20
    assert exports == []
    assert len(kept) == 1


@pytest.mark.parametrize("how", ["nobody", "another protocol", "another user"])
def test_where_it_does_not_work_an_export_does(
    how: str,
    pg_server: QuestDBServer,
    url: str,
    opened: Opened,
    exports: list[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    port = {
        "nobody": free_port(),
        "another protocol": pg_server.port,
        "another user": pg_server.pg_port,
    }
    store = opened(with_pg(url, port[how]))
    server = store._rows.table.server
    if how == "another user":
        monkeypatch.setattr(server._wire, "_password", "wr0ng")
    store.commit(SERIES, write(some_bars(0, 20)))
    exports.clear()
    for _ in range(2):
        assert store.read(SERIES, minutes(0, 20)).frame.height == 20
    assert len(exports) == 2
    warned = [one.getMessage() for one in caplog.records if "pg= of" in one.getMessage()]
    assert len(warned) == 1, "once in a while"
    trouble = store.questdb().pg_trouble or ""
    assert trouble
    for said in (warned[0], trouble):
        assert PASSWORD not in said
        assert "wr0ng" not in said


@contextmanager
def speaking(*answers: bytes) -> Iterator[int]:
    """A server that answers each message with the next of some answers, and then closes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def speak() -> None:
            connection, _ = listener.accept()
            with connection:
                for answer in answers:
                    connection.recv(1 << 16)
                    connection.sendall(answer)

        thread = threading.Thread(target=speak)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


LOGIN = message(b"R", struct.pack(">i", 3)), message(b"R", struct.pack(">i", 0)) + message(b"Z", b"I")


@pytest.mark.parametrize(
    ("answers", "kind", "why"),
    [
        ((message(b"R", struct.pack(">i", 10)),), wire.WireError, "login of another kind"),
        ((LOGIN[0], message(b"E", b"Minvalid username/password\0\0")), wire.WireError, "invalid username"),
        ((*LOGIN, START + row(1, 1.0)), ConnectionError, "closed the connection"),
        ((b"R\0",), ConnectionError, "closed the connection"),
        ((*LOGIN, b"D\0\0\0\0"), wire.WireError, "a message of 0 bytes"),
    ],
)
def test_what_ends_or_makes_no_sense_fails(
    answers: tuple[bytes, ...], kind: type[Exception], why: str
) -> None:
    with speaking(*answers) as port, pytest.raises(kind, match=why):
        wire.Wire("127.0.0.1", port, USER, PASSWORD).ask("SELECT 1")


def test_a_statement_that_is_refused_leaves_the_connection_usable(pg_server: QuestDBServer) -> None:
    made = wire.Wire("127.0.0.1", pg_server.pg_port, USER, PASSWORD)
    assert made.ask("SELECT x FROM no_such_table") is None
    columns = ", ".join(f"{value!r}::double" for value in (0.1, 5e-324, -0.0, 1e308))
    found = made.ask(f"SELECT 7::long, {columns}, null::double")
    assert len(made._idle) == 1
    made.close()
    target = allocate(1)
    assert found is not None
    assert wire.fill(found, target)
    assert [column[0] for column in target[:2]] == [7, 0.1]
    assert np.isnan(target.volume[0])
    assert isinstance(target, Rows)
