"""What is told of a server is what it is, and what of that is worth a warning."""

from __future__ import annotations

import json
from dataclasses import replace

import psycopg
import pytest
from typer.testing import CliRunner

from qmtl.foundation.times import SECOND
from qmtl.interfaces.cli.main import app
from qmtl.interfaces.cli.server_checks import facts_of, server_checks
from qmtl.runtime.io.sql.postgres.server import ServerState
from qmtl.runtime.io.sql.postgres.store import PostgresStore
from qmtl.runtime.io.store.values import Write
from qmtl.runtime.testing.store_suites.bars import SERIES, some_bars
from tests.qmtl.postgres import PostgresServer

STATE = ServerState("15.1", False, True, True, True, "on", 0, 0, None, None, 900, 100, None)


def test_what_the_server_says_of_itself(postgres_url: str, postgres_server: PostgresServer) -> None:
    with PostgresStore(postgres_url) as store:
        store.commit(SERIES, Write("v", 1, some_bars(0, 5)))
        store.compact()
        state = store.server()
        with psycopg.connect(postgres_server.url()) as connection:
            asked = [
                connection.execute(f"SHOW {name}").fetchone()
                for name in ("server_version", "fsync", "full_page_writes", "data_checksums")
            ]
    assert asked == [(state.version,), ("on",), ("on",), ("on",)]
    assert (state.fsync, state.full_page_writes, state.data_checksums) == (True, True, True)
    assert (state.is_replica, state.replicas, state.behind_bytes) == (False, 0, None)
    assert state.synchronous_commit == "on"
    shown = CliRunner().invoke(app, ["--store", postgres_url, "--json", "store", "info"])
    assert shown.exit_code == 0, shown.output
    assert json.loads(shown.stdout)["server"]["version"] == state.version
    assert "a primary without a replica" in shown.stderr
    examined = CliRunner().invoke(app, ["--store", postgres_url, "--json", "doctor"])
    found = [one for one in json.loads(examined.stdout) if one["subject"] == "server"]
    assert [one["outcome"] for one in found] == ["ok"]


def test_commits_to_a_server_that_waits_for_no_disk_say_so(
    postgres_url: str, postgres_server: PostgresServer
) -> None:
    with PostgresStore(postgres_url) as store:
        assert store.commit(SERIES, Write("v", 1, some_bars(0, 600))).at_risk is None

    def set_fsync(value: str) -> None:
        with psycopg.connect(postgres_server.url(), autocommit=True) as connection:
            connection.execute(f"ALTER SYSTEM SET fsync = {value}")
            connection.execute("SELECT pg_reload_conf()")
        for _ in range(1_000):
            with psycopg.connect(postgres_server.url()) as connection:
                if connection.execute("SHOW fsync").fetchone() == (value,):
                    return
        raise AssertionError("the server does not take over its settings")

    set_fsync("off")
    try:
        with PostgresStore(postgres_url) as store:
            for first, count in ((600, 600), (1_200, 1), (1_201, 1), (1_202, 1), (1_203, 1)):
                at_risk = store.commit(SERIES, Write("v", 1, some_bars(first, count))).at_risk
                assert at_risk == "PostgreSQL does not wait for the disk: fsync is off"
    finally:
        set_fsync("on")


def test_what_people_read() -> None:
    lines = dict(facts_of(replace(STATE, vacuumed_at=0)))
    assert lines["server"] == "PostgreSQL 15.1, a primary without a replica"
    assert lines["durability"] == "synchronous_commit on, fsync on, full_page_writes on, data_checksums on"
    assert lines["dead rows"] == "100, 10% of all; cleared up 1970-01-01"
    two = dict(facts_of(replace(STATE, replicas=2, behind_bytes=4096)))["server"]
    assert "a primary with 2 replicas, the slowest 4.0 KiB behind; commits wait for none of them" in two
    waits = dict(facts_of(replace(STATE, replicas=1, waited_for=1)))["server"]
    assert waits.endswith("a primary with 1 replica; commits wait for 1")
    replica = replace(STATE, is_replica=True, last_replayed=SECOND)
    assert "has what was committed up to 1970-01-01T00:00:01Z" in dict(facts_of(replica))["server"]
    assert "has replayed nothing yet" in dict(facts_of(replace(replica, last_replayed=None)))["server"]


@pytest.mark.parametrize(
    ("changed", "warned"),
    [
        ({}, []),
        ({"fsync": False}, ["fsync is off"]),
        ({"full_page_writes": False}, ["full_page_writes is off"]),
        ({"data_checksums": False}, ["data_checksums are off"]),
        ({"dead_rows": 99_000}, []),
        ({"dead_rows": 200_000}, ["200,000 rows are dead, 100% of all"]),
        ({"dead_rows": 200_000, "live_rows": 300_000}, []),
    ],
)
def test_what_the_doctor_warns_of(changed: dict[str, int], warned: list[str]) -> None:
    first, *others = server_checks(replace(STATE, **changed))
    assert first.outcome == "ok"
    assert [one.detail.partition(":")[0] for one in others] == warned
    assert all(one.outcome == "warn" and one.fix for one in others)
