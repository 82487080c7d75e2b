"""A desk's own table as `qmtl.yml` names it: what a fetch and the doctor say, never with its password."""

from __future__ import annotations

import json
from urllib.parse import quote
from uuid import uuid4

import pytest

from qmtl.foundation.questdb_login import QuestDBLogin
from qmtl.runtime.io.questdb.server import QuestDBServer as Client
from qmtl.runtime.io.questdb.wal import settle
from tests.qmtl.command_line import CommandLine
from tests.qmtl.questdb import PASSWORD, USER, QuestDBServer

FETCH = ("fetch", "ohlcv:desk:GOLD:1h", "2024-01-01", "2024-01-01T03:00Z", "--json")


@pytest.fixture
def url(questdb_server: QuestDBServer) -> str:
    """The address of a table of three hours."""
    table = f"hours_{uuid4().hex}"
    client = Client(QuestDBLogin("127.0.0.1", questdb_server.port, USER, PASSWORD))
    client.query(
        f"CREATE TABLE {table} (ts TIMESTAMP, sym SYMBOL, open DOUBLE, high DOUBLE, low DOUBLE, close DOUBLE,"
        " volume DOUBLE) TIMESTAMP(ts) PARTITION BY MONTH"
    )
    rows = ", ".join(f"('2024-01-01T0{hour}', 'GOLD', 1, 3, 1, 2, {hour})" for hour in range(3))
    client.query(f"INSERT INTO {table} VALUES {rows}")
    settle(client, table)
    login = f"{USER}:{quote(PASSWORD, safe='')}"
    return f"questdb://{login}@127.0.0.1:{questdb_server.port}?table={table}&columns=symbol=sym"


def configure(cli: CommandLine, url: str) -> None:
    cli.config.write_text(
        f"seamless:\n  vendors:\n    - {{match: 'ohlcv:desk:*:1h', kind: questdb, url: '{url}'}}\n"
    )


def test_a_fetch_takes_its_bars_from_the_table_once(cli: CommandLine, url: str) -> None:
    configure(cli, url)
    first, second = cli.run(*FETCH), cli.run(*FETCH)
    assert (first.exit_code, second.exit_code) == (0, 0), first.output + second.output
    tiers = [
        [one["tier"] for one in json.loads(result.stdout)["receipt"]["served"]] for result in (first, second)
    ]
    assert tiers == [["backfill"], ["storage"]]
    assert PASSWORD not in first.output
    assert quote(PASSWORD, safe="") not in first.output


def test_the_doctor_tries_it(cli: CommandLine, url: str) -> None:
    configure(cli, url)
    assert "has the columns that the address names" in " ".join(cli.run("doctor").output.split())
    for wrong, told in (
        (url.replace("=hours_", "=hour_"), "QuestDB has no table"),
        (url.replace("symbol=sym", "symbol=sign"), "no column 'sign'"),
        (url.replace("%40word", "%40wor"), "QuestDB refuses the user"),
        (url.replace("symbol=sym", "simbol=sym"), "'simbol' is none of the columns"),
    ):
        configure(cli, wrong)
        output = cli.run("doctor").output
        assert told in " ".join(output.split())
        assert "s3cret" not in output


def test_what_is_wrong_with_it_ends_a_fetch_as_bad_input(cli: CommandLine, url: str) -> None:
    configure(cli, url.replace("symbol=sym", "symbol=sign"))
    result = cli.run(*FETCH)
    assert result.exit_code == 2
    assert "no column 'sign'" in result.output
    configure(cli, url.replace("symbol=sym", "simbol=sym"))
    result = cli.run(*FETCH)
    assert result.exit_code == 2
    assert "'seamless.vendors[0].url': the address of the table cannot be used" in result.output
    assert "s3cret" not in result.output


def test_it_is_no_store(cli: CommandLine, url: str) -> None:
    result = cli.run("store", "info", before=("--store", url))
    assert result.exit_code == 2
    assert "a table of a desk is no store" in result.output
    assert "kind: questdb" in result.output
    assert "s3cret" not in result.output


def test_a_store_is_no_vendor(cli: CommandLine) -> None:
    configure(cli, "questdb://me:s3cret@db.desk:9000?catalog=/var/bars")
    result = cli.run(*FETCH)
    assert result.exit_code == 2
    assert "a store is no vendor" in result.output
    assert "s3cret" not in result.output
