"""The clock of a real server steps back by an hour: times of commits rise all the same."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import psycopg
import pytest

from qmtl.foundation.times import HOUR, SECOND
from qmtl.runtime.io.sql.postgres.store import PostgresStore
from qmtl.runtime.io.store.values import Write
from qmtl.runtime.testing.store_suites.bars import SERIES, minutes, some_bars
from tests.qmtl.faketime import LIBRARIES, faked, set_offset
from tests.qmtl.postgres import PostgresServer, newest_programs


class ServerOfItsTime:
    """A server whose clock this test sets. Each of its processes reads the file at each question."""

    def __init__(self, clock: Path) -> None:
        self._clock = clock
        self.set(0)
        programs = newest_programs()
        assert programs is not None
        self.server = PostgresServer(programs, env=faked(clock))

    def set(self, offset: int) -> None:
        set_offset(self._clock, offset)

    def now(self) -> int:
        with psycopg.connect(self.server.url()) as connection:
            found = connection.execute("SELECT extract(epoch FROM clock_timestamp())").fetchone()
        assert found is not None
        return int(found[0] * SECOND)


@pytest.fixture
def server(postgres_server: PostgresServer) -> Iterator[ServerOfItsTime]:
    if not LIBRARIES:
        lacking = "there is no libfaketime; apt-get install libfaketime"
        if os.environ.get("QMTL_TEST_REQUIRE", "") in ("all", "postgres"):
            pytest.fail(lacking)
        pytest.skip(lacking)
    # A folder that the user of the server can read.
    made = ServerOfItsTime(postgres_server.folder / "clock")
    yield made
    made.server.remove()


def test_commit_times_rise_while_the_server_goes_back_an_hour(server: ServerOfItsTime) -> None:
    states = []
    with PostgresStore(server.server.url("bars")) as store:
        before = server.now()
        for number, offset in enumerate((0, -3600, -3600, -7200, 0, 3600)):
            server.set(offset)
            commit = store.commit(SERIES, Write("v", number, some_bars(number, 1)))
            states.append((commit.as_of, store.read(SERIES, minutes(0, 99)).frame))
            if offset == -3600:
                assert before - server.now() > HOUR // 2, "the clock of the server did step back"
        times = [as_of for as_of, _ in states]
        assert all(one < two for one, two in pairwise(times)), times
        assert times[1:4] == [times[0] + 1, times[0] + 2, times[0] + 3], "they go on from the newest"
        assert times[5] - times[4] > HOUR // 2, "a clock that is right again counts again"
        for as_of, frame in states:
            assert store.read(SERIES, minutes(0, 99), as_of=as_of).frame.equals(frame)
