"""A bar that is written in one trip leaves what it would have left in two, whatever is lost on the way."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qmtl.foundation.errors import StoreError, StoreLockedError
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage
from qmtl.runtime.conformance.kept_flags import KeptFlags
from qmtl.runtime.io.sql.dialect import LIVE
from qmtl.runtime.io.sql.postgres.database import PostgresDatabase
from qmtl.runtime.io.sql.postgres.store import PostgresStore
from qmtl.runtime.io.sql.presumed import Presumed
from qmtl.runtime.io.store.values import Commit, Judged, Point, Write
from qmtl.runtime.testing.clock import FakeClock
from qmtl.runtime.testing.store_suites.bars import SERIES, STEP, changes_since, minutes, some_bars
from qmtl.runtime.testing.store_suites.flags import FLAGS
from tests.qmtl.postgres import PostgresServer
from tests.qmtl.runtime.io.sql.postgres.test_commit_order import wait_for
from tests.qmtl.runtime.io.sql.test_appends import tables_of
from tests.qmtl.tcp_proxy import CutOnce, TcpProxy

NAMES = [SeriesId.parse(f"ohlcv:once:S{number}:1m") for number in range(2)]
ROUNDS = 150
# Is in what is sent at once.
SOURCE = b"feed"


def bar(at: int, *, price: float = 1.0, **more: object) -> Write:
    cells = Coverage.of(minutes(at, at + 1))
    return Write("feed", 40 + at, some_bars(at, 1, price=price), cells, **more)  # type: ignore[arg-type]


@pytest.fixture
def store(postgres_url: str) -> Iterator[PostgresStore]:
    with PostgresStore(postgres_url) as store:
        yield store


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Point | None]:
    """What became of each write that was tried at once."""
    results: list[Point | None] = []
    append = PostgresDatabase.append

    def noted(database: PostgresDatabase, series: SeriesId, presumed: Presumed, now: int) -> Point | None:
        results.append(append(database, series, presumed, now))
        return results[-1]

    monkeypatch.setattr(PostgresDatabase, "append", noted)
    return results


def test_the_fourth_bar_goes_at_once_and_is_told_as_the_others(
    store: PostgresStore, asked: list[Point | None]
) -> None:
    made = [store.commit(SERIES, bar(at)) for at in range(5)]
    assert [(one.tx, one.added, one.unchanged) for one in made] == [(at + 1, 1, 0) for at in range(5)]
    assert asked == [Point(one.tx, one.as_of) for one in made[3:]]
    assert sorted(one.as_of for one in made) == [one.as_of for one in made]
    for at, one in enumerate(made):
        assert store.read(SERIES, minutes(0, 9), as_of=one.as_of).frame.height == at + 1
    assert store.read(SERIES, minutes(0, 9)).answered == Coverage.of(minutes(0, 5))
    assert [(one.tx, one.span) for one in changes_since(store, 2)] == [
        (at + 1, minutes(at, at + 1)) for at in range(2, 5)
    ]
    assert store.commit(SERIES, bar(4)).unchanged == 1, "a bar that is there is not written again"
    assert store.commit(SERIES, bar(4, price=2.0)).replaced.height == 1
    assert asked[2:] == [None]
    assert store.verify().is_sound


def test_one_that_another_store_was_quicker_than_goes_the_other_way(
    store: PostgresStore, asked: list[Point | None], postgres_url: str
) -> None:
    with PostgresStore(postgres_url) as other:
        for at in range(3):
            store.commit(SERIES, bar(at))
        assert asked == []
        other.commit(SERIES, bar(3, price=5.0))
        commit = store.commit(SERIES, bar(3, price=6.0))
        assert asked == [None]
        assert (commit.tx, commit.replaced["old_close"].to_list()) == (5, [5.03])
        for at in range(4, 20, 2):
            store.commit(SERIES, bar(at))
            other.commit(SERIES, bar(at + 1))
        assert len(asked) == 1, "while others write as well nothing is presumed"
        assert store.read(SERIES, minutes(0, 30)).frame.height == 20


# A commit of somebody else, as far as a store can tell.
OTHER_NEWEST = "UPDATE tx SET committed_at = committed_at + 1 WHERE id = (SELECT max(id) FROM tx)"


@pytest.mark.parametrize(
    "statement",
    [
        OTHER_NEWEST,
        f'INSERT INTO lost (series, start, "end", tx_from, tx_to, found_at) VALUES (1, 0, 1, 1, {LIVE}, 1)',
        "UPDATE series SET node = 'ohlcv:once:other:1m' WHERE id = 1",
        "UPDATE answer SET start = start + 1",
        f"INSERT INTO answer VALUES (1, {LIVE}, {9 * STEP}, {3 * STEP}, 3, 'answered', 'x', 1, NULL)",
        f"INSERT INTO hot SELECT series, tx_to, ts + {STEP}, tx_from, over, data FROM hot"
        f" WHERE ts = {2 * STEP}",
    ],
)
def test_a_bar_before_others_is_not_written_over_what_is_not_as_it_was_left(
    store: PostgresStore, asked: list[Point | None], statement: str
) -> None:
    for at in (20, 0, 1, 2):
        store.commit(SERIES, bar(at))
    refuses_after(statement, store, asked, bar(3))


def test_a_bar_behind_all_others_is_not_written_where_somebody_else_has_committed(
    store: PostgresStore, asked: list[Point | None]
) -> None:
    for at in range(4):
        store.commit(SERIES, bar(at))
    refuses_after(OTHER_NEWEST, store, asked, bar(4))


def refuses_after(statement: str, store: PostgresStore, asked: list[Point | None], write: Write) -> None:
    """The last write went at once; after a statement this one does not, and nothing is written."""
    assert [one is not None for one in asked] == [True]
    with store._database.writing() as connection:
        connection.execute(statement)
        connection.execute("COMMIT")
    before = tables_of(store)
    assert store._append(SERIES, write) is None
    assert asked[1:] == [None]
    assert tables_of(store) == before


def test_flags_and_deliveries_and_facts(store: PostgresStore, asked: list[Point | None]) -> None:
    facts = SeriesFacts(calendar="24x7")
    for at in range(3):
        store.commit(SERIES, bar(at, declared=facts, delivered_at={at * STEP: at * STEP + 7}))
    seen = store.newest()
    flags = KeptFlags(minutes(0, 3), minutes(0, 9), FLAGS.clip(minutes(0, 3)))
    store.keep_flags([Judged(SERIES, b"rules", seen, flags)])
    assert store.read(SERIES, minutes(0, 3), flags_by=b"rules").flags is not None
    store.commit(SERIES, bar(3, declared=facts, delivered_at={3 * STEP: 3 * STEP + 7}))
    assert asked[-1] is not None, "facts that are known are no reason to ask"
    assert store.read(SERIES, minutes(0, 3), flags_by=b"rules").flags is None
    assert store.deliveries(SERIES, minutes(0, 9))["delivered_at"].to_physical().to_list() == [
        at * STEP + 7 for at in range(4)
    ]


# What is done: by which of two stores, to which series, how; and how many bars ahead of the last one.
steps = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 0, 0, 0, 1]),
        st.integers(0, 1),
        st.sampled_from(
            ["bar"] * 8 + ["both"] * 6 + ["again", "delivered", "uncovered", "two", "retract", "compact"]
        ),
        st.sampled_from([1, 1, 1, 2, -1]),
        st.sampled_from("aaab"),
    ),
    min_size=4,
    max_size=40,
)


@pytest.mark.slow
@given(steps)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_tables_are_those_of_a_store_that_asks(
    new_schema: Callable[[], str], drawn: list[tuple[int, int, str, int, str]]
) -> None:
    with ExitStack() as stack:
        clocks = [FakeClock(5_000), FakeClock(5_000)]
        both = [
            [stack.enter_context(PostgresStore(place, clock=clock)) for _ in range(2)]
            for place, clock in zip([new_schema() for _ in range(2)], clocks, strict=True)
        ]
        last = dict.fromkeys(NAMES, 0)
        for who, which, how, ahead, source in drawn:
            series = NAMES[which]
            at = last[series] = max(0, last[series] + (0 if how == "again" else ahead))
            write = replace(bar(at, price=2.0 if how == "again" else 1.0), source=source)
            if how == "delivered":
                write = replace(write, delivered_at={at * STEP: 9 * at})
            if how == "uncovered":
                write = replace(write, answered=Coverage())
            if how == "two":
                write = replace(write, frame=some_bars(at, 2), answered=Coverage.of(minutes(at, at + 2)))
                last[series] += 1
            told: list[object] = []
            for presumes, stores in zip((True, False), both, strict=True):
                if not presumes:
                    stores[who]._presumptions.forget()
                if how == "retract":
                    told.append(stores[who].retract(series, minutes(at, at + 1), reason="wrong"))
                elif how == "compact":
                    stores[who].compact()
                elif how == "both":
                    batch = stores[who].commit_many(dict.fromkeys(NAMES, write))
                    told.append([(name.text, one.tx, one.added) for name, one in batch.items()])
                else:
                    made = stores[who].commit(series, write)
                    told.append((made.tx, made.as_of, made.added, made.unchanged, made.replaced.rows()))
            assert told[:1] == told[1:]
            assert tables_of(both[0][0]) == tables_of(both[1][0])


@pytest.fixture
def wire(store: PostgresStore, postgres_server: PostgresServer) -> Iterator[TcpProxy]:
    wire = TcpProxy(postgres_server.port)
    yield wire
    wire.close()


@pytest.fixture
def far(wire: TcpProxy, postgres_url: str) -> Iterator[PostgresStore]:
    """A store behind the wire, which presumes by now: it has written three bars one after the other."""
    with PostgresStore(wire.url(postgres_url)) as far:
        for at in range(3):
            far.commit(SERIES, bar(at))
        yield far


def test_what_never_arrived_is_an_error_and_is_not_repeated(
    wire: TcpProxy, far: PostgresStore, store: PostgresStore, asked: list[Point | None]
) -> None:
    swallowed: list[bytes] = []

    def swallow(direction: str, piece: bytes, source: socket.socket) -> int | None:
        if direction == "up" and not swallowed:
            swallowed.append(piece)
            return 0
        return None

    wire.passes = swallow
    with pytest.raises(StoreError, match="was lost while a commit was made") as lost:
        far.commit(SERIES, bar(3))
    assert SOURCE in swallowed[0]
    assert lost.value.next_step == "repeat: nothing of it was kept"
    assert store.newest().tx == 3
    assert far.commit(SERIES, bar(3)).tx == 4


def test_whose_answer_was_lost_is_found_and_is_not_repeated(
    wire: TcpProxy, far: PostgresStore, store: PostgresStore, asked: list[Point | None]
) -> None:
    lost: list[bytes] = []

    def keep_the_answer(direction: str, piece: bytes, source: socket.socket) -> int | None:
        if direction == "down" and not lost:
            lost.append(piece)
            return 0
        return None

    wire.passes = keep_the_answer
    commit = far.commit(SERIES, bar(3))
    assert lost
    assert asked == [Point(commit.tx, commit.as_of)]
    assert store.newest() == (4, commit.as_of)
    assert far.commit(SERIES, bar(4)).tx == 5


def test_what_waits_for_the_lock_when_its_client_has_gone_is_ended(
    wire: TcpProxy, far: PostgresStore, store: PostgresStore, postgres_url: str
) -> None:
    """Its session stands before the lock; whoever looks for the commit comes behind it."""
    sent = threading.Event()

    def notice(direction: str, piece: bytes, source: socket.socket) -> int | None:
        if direction == "up" and SOURCE in piece:
            sent.set()
        return None

    wire.passes = notice
    observing = psycopg.connect(postgres_url.partition("?")[0], autocommit=True)
    found: list[Commit] = []
    with observing as observer:
        with store._database.writing():
            writer = threading.Thread(target=lambda: found.append(far.commit(SERIES, bar(3))))
            writer.start()
            assert sent.wait(60)
            wait_for(observer, waiting=1)
            wire.cut()
            wait_for(observer, waiting=2)
        writer.join(60)
    (commit,) = found
    assert store.newest() == (commit.tx, commit.as_of)
    assert [one.tx for one in changes_since(store, 0)] == [1, 2, 3, 4], "it is there once"


def test_wherever_it_is_cut_the_store_knows_what_was_kept(
    wire: TcpProxy, far: PostgresStore, store: PostgresStore, asked: list[Point | None]
) -> None:
    dice = random.Random(0)
    kept, refused = 3, 0
    wire.passes = cut = CutOnce()
    far.commit(SERIES, bar(3))
    cut.disarm()
    far.commit(SERIES, bar(4))
    whole, kept = cut.passed, 5
    for at in range(5, 5 + ROUNDS):
        cut.arm(dice.randrange(whole))
        failure = None
        try:
            commit = far.commit(SERIES, bar(at))
        except StoreError as error:
            failure = error
        cut.disarm()
        there = store.read(SERIES, minutes(at, at + 1)).frame.height
        if failure is None:
            kept += 1
            assert there == 1
            assert store.newest() == (commit.tx, commit.as_of)
        else:
            refused += 1
            # Before the commit, where it went the other way; or while it was made.
            assert "the connection to the database was lost" in failure.what
            assert there == 0
    assert min(kept, refused) > ROUNDS // 10, (kept, refused)
    assert [one.tx for one in changes_since(store, 0)] == list(range(1, kept + 1))
    assert sum(one is not None for one in asked) > ROUNDS // 30


def test_a_lock_that_is_held_too_long_is_told_once(store: PostgresStore, postgres_url: str) -> None:
    with PostgresStore(postgres_url, lock_timeout_s=0.2) as hasty:
        for at in range(3):
            hasty.commit(SERIES, bar(at))
        with (
            store._database.writing(),
            pytest.raises(StoreLockedError, match=r"has been locked for 0\.2 s"),
        ):
            hasty.commit(SERIES, bar(3))
        assert hasty.commit(SERIES, bar(3)).tx == 4


def test_a_session_that_had_ended_before_is_replaced(
    wire: TcpProxy, far: PostgresStore, asked: list[Point | None]
) -> None:
    """As by a server that was started again: it is seen before anything is sent."""
    wire.cut()
    assert far.commit(SERIES, bar(3)).tx == 4
    assert asked == [None]


def test_what_the_server_refuses_is_told_in_its_words(
    store: PostgresStore, asked: list[Point | None]
) -> None:
    for at in range(3):
        store.commit(SERIES, bar(at))
    with store._database.writing() as connection:
        connection.execute("ALTER TABLE hot ADD CONSTRAINT no_more CHECK (ts < 180000000000)")
        connection.execute("COMMIT")
    with pytest.raises(StoreError, match="no_more"):
        store.commit(SERIES, bar(3))
    assert asked[-1] is None
    assert store.newest().tx == 3


def test_times_of_an_own_clock_rise(postgres_url: str, asked: list[Point | None]) -> None:
    clock = FakeClock(5_000)
    with PostgresStore(postgres_url, clock=clock) as store:
        times = [store.commit(SERIES, bar(at)).as_of for at in range(3)]
        clock.advance(1)
        times.append(store.commit(SERIES, bar(3)).as_of)
        times.append(store.commit(SERIES, bar(4)).as_of)
    assert len(asked) == 2
    assert None not in asked
    assert times == [5_000, 5_001, 5_002, 10**9 + 5_000, 10**9 + 5_001]
