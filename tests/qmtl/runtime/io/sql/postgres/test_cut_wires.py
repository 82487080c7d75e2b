"""The way to the server is cut in the middle of a commit: what the store says of it is what is there."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Iterator

import psycopg
import pytest

from qmtl.foundation.errors import StoreError
from qmtl.foundation.timeline import Coverage
from qmtl.runtime.io.sql.postgres.store import PostgresStore
from qmtl.runtime.io.store.values import Commit, Write
from qmtl.runtime.testing.store_suites.bars import SERIES, changes_since, minutes, some_bars
from tests.qmtl.postgres import PostgresServer
from tests.qmtl.runtime.io.sql.postgres.test_commit_order import wait_for
from tests.qmtl.tcp_proxy import CutOnce, TcpProxy

ROUNDS = 150
# Begins to be cut when it is on its way to the server, or answered.
COMMIT = b"COMMIT\0"


@pytest.fixture
def direct(postgres_url: str) -> Iterator[PostgresStore]:
    """The same store by a way that is never cut."""
    with PostgresStore(postgres_url) as store:
        yield store


@pytest.fixture
def wire(direct: PostgresStore, postgres_server: PostgresServer) -> Iterator[TcpProxy]:
    wire = TcpProxy(postgres_server.port)
    yield wire
    wire.close()


def bars(number: int) -> Write:
    """A write of its own of some bars, which touches no other."""
    return Write("v", number, some_bars(number * 10, 5), Coverage.of(minutes(number * 10, number * 10 + 5)))


def has(store: PostgresStore, number: int) -> bool:
    """Whether a write is there as a whole; half of one is never there."""
    snapshot = store.read(SERIES, minutes(number * 10, number * 10 + 5))
    whole = snapshot.frame.equals(bars(number).frame)
    assert whole or snapshot.frame.is_empty()
    assert snapshot.answered == (bars(number).answered if whole else Coverage())
    return whole


def test_a_commit_that_never_arrived_is_an_error_and_is_not_repeated(
    wire: TcpProxy, direct: PostgresStore, postgres_url: str
) -> None:
    commits = 0

    def swallow(direction: str, piece: bytes, source: socket.socket) -> int | None:
        nonlocal commits
        if direction == "up" and COMMIT in piece:
            commits += 1
            return 0 if commits == 1 else None
        return None

    with PostgresStore(wire.url(postgres_url)) as store:
        wire.passes = swallow
        with pytest.raises(StoreError, match="was lost while a commit was made") as lost:
            store.commit(SERIES, bars(0))
        assert lost.value.why == "the store was asked again, and does not have it"
        assert lost.value.next_step == "repeat: nothing of it was kept"
        assert commits == 1
        assert direct.newest() == (0, 0)
        assert not has(direct, 0)
        assert store.commit(SERIES, bars(0)).added == 5, "repeated by the caller, who knows that it may"
    assert has(direct, 0)


def test_a_commit_whose_answer_was_lost_is_found_and_is_not_repeated(
    wire: TcpProxy, direct: PostgresStore, postgres_url: str
) -> None:
    answers = commits = 0

    def keep_the_answer(direction: str, piece: bytes, source: socket.socket) -> int | None:
        nonlocal answers, commits
        commits += direction == "up" and COMMIT in piece
        if direction == "down" and COMMIT in piece:
            answers += 1
            return 0
        return None

    with PostgresStore(wire.url(postgres_url)) as store:
        wire.passes = keep_the_answer
        commit = store.commit(SERIES, bars(0))
        assert (commits, answers) == (1, 1)
        assert direct.newest() == (commit.tx, commit.as_of)
        assert commit.tx == 1
    assert has(direct, 0)
    assert len(changes_since(direct, 0)) == 1


def test_a_commit_that_arrives_after_its_client_has_gone_is_waited_for(
    wire: TcpProxy, direct: PostgresStore, postgres_url: str
) -> None:
    """The client asks for it before the server has got it: whoever asks waits for the lock that it holds."""
    gone, arrives = threading.Event(), threading.Event()

    def hang_up(direction: str, piece: bytes, source: socket.socket) -> int | None:
        if direction == "up" and COMMIT in piece and not gone.is_set():
            source.shutdown(socket.SHUT_RDWR)
            gone.set()
            assert arrives.wait(60)
        return None

    observing = psycopg.connect(postgres_url.partition("?")[0], autocommit=True)
    with PostgresStore(wire.url(postgres_url)) as store, observing as observer:
        wire.passes = hang_up
        found: list[Commit] = []
        writer = threading.Thread(target=lambda: found.append(store.commit(SERIES, bars(0))))
        writer.start()
        assert gone.wait(60)
        wait_for(observer, waiting=1)
        assert found == []
        assert not has(direct, 0)
        arrives.set()
        writer.join(60)
        (commit,) = found
        assert direct.newest() == (commit.tx, commit.as_of)
        assert has(direct, 0)


def test_wherever_it_is_cut_the_store_knows_what_was_kept(
    wire: TcpProxy, direct: PostgresStore, postgres_url: str
) -> None:
    """After some number of bytes in either direction, within a commit or what is asked after it."""
    dice = random.Random(0)
    kept = refused = 0
    wire.passes = cut = CutOnce()
    with PostgresStore(wire.url(postgres_url)) as store:
        wire.cut()
        cut.disarm()
        store.commit(SERIES, bars(ROUNDS))
        whole = cut.passed  # on a new connection, as each of those that follow
        for number in range(ROUNDS):
            wire.cut()
            # Half of them about the end, where the commit itself is.
            cut.arm(dice.choice([dice.randrange(whole), dice.randrange(whole * 3 // 4, whole)]))
            failure = None
            try:
                commit = store.commit(SERIES, bars(number))
            except StoreError as error:
                failure = error
            cut.disarm()
            if failure is None:
                kept += 1
                assert has(direct, number)
                assert direct.newest() == (commit.tx, commit.as_of)
            else:
                refused += 1
                assert failure.next_step
                assert "nobody knows" not in failure.what
                assert not has(direct, number), failure
        assert store.read(SERIES, minutes(0, 10 * ROUNDS)).frame.height == 5 * kept
    assert min(kept, refused) > ROUNDS // 10, (kept, refused)
    commits = [change.tx for change in changes_since(direct, 0)]
    assert commits == list(range(1, kept + 2)), "none is there twice"
