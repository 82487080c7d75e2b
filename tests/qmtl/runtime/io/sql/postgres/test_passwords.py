"""A password is shown nowhere: in no error, log, receipt, list of processes or list of sessions."""

from __future__ import annotations

import json
import logging
import os
import pickle
import subprocess
import sys
import traceback
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, urlsplit
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

import qmtl
from qmtl.foundation.errors import QmtlError, StoreError
from qmtl.foundation.settings import Settings
from qmtl.runtime.io.sql.postgres.store import PostgresStore
from qmtl.runtime.sdk.store_copy import copy_store
from qmtl.runtime.testing.vendors import ScriptedVendor
from tests.qmtl.postgres import PostgresServer
from tests.qmtl.tcp_proxy import TcpProxy

NAME = "ohlcv:test:BTC/USDT:1m"
# Of a kind that has to be quoted in an address, and of one that need not be.
SECRETS = ["pl41nw0rd", "s3cr3t/ü @:%?#&=+ 'x\"\\"]


class Account:
    """A user who has to give a password, and the ways in which it may be written down."""

    def __init__(self, server: PostgresServer, secret: str) -> None:
        self.secret, self._server = secret, server
        self.quoted = quote(secret, safe="")

    def url(self, schema: str, *, secret: str | None = None, in_query: bool = False, port: int = 0) -> str:
        given = quote(secret or self.secret, safe="")
        port = port or self._server.port
        if in_query:
            return f"postgresql://secured2@127.0.0.1:{port}/postgres?password={given}&schema={schema}"
        return f"postgresql://secured2:{given}@127.0.0.1:{port}/postgres?schema={schema}"

    def check(self, *texts: str) -> None:
        for text in texts:
            for form in {self.secret, self.quoted, json.dumps(self.secret)[1:-1], repr(self.secret)[1:-1]}:
                assert form not in text, text
            assert self.secret[:6] not in text, text


@pytest.fixture(params=SECRETS, ids=["plain", "quoted"])
def account(request: pytest.FixtureRequest, postgres_server: PostgresServer) -> Account:
    rule = "host all secured2 127.0.0.1/32 scram-sha-256\n"
    hba = postgres_server.data / "pg_hba.conf"
    with psycopg.connect(postgres_server.url(), autocommit=True) as owner:
        if rule not in (known := hba.read_text()):
            hba.write_text(rule + known)
            owner.execute("SELECT pg_reload_conf()")
        if owner.execute("SELECT 1 FROM pg_roles WHERE rolname = 'secured2'").fetchone() is None:
            owner.execute("CREATE ROLE secured2 LOGIN")
            owner.execute("GRANT CREATE ON DATABASE postgres TO secured2")
        owner.execute(sql.SQL("ALTER ROLE secured2 PASSWORD {}").format(request.param))
    return Account(postgres_server, request.param)


@pytest.fixture
def schema(new_schema: Callable[[], str]) -> str:
    return new_schema().partition("schema=")[2]


def said(error: BaseException) -> str:
    """All that an error says, in whatever way it is asked, with those that led to it."""
    texts = ["".join(traceback.format_exception(error))]
    found: BaseException | None = error
    while found is not None:
        texts += [str(found), repr(found), repr(found.args)]
        if isinstance(found, QmtlError):
            texts.append(repr(vars(found)))
        found = found.__cause__ or (None if found.__suppress_context__ else found.__context__)
    texts.append(repr(pickle.loads(pickle.dumps(error))))
    return "\n".join(texts)


def test_no_failure_tells_it(
    account: Account, schema: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    PostgresStore(account.url(schema)).close()
    good = account.url(schema)
    wrong = account.url(schema, secret=account.secret + "!")
    broken = [
        wrong,
        account.url(schema, secret=account.secret + "!", in_query=True),
        account.url(schema, port=1),
        account.url(schema, in_query=True, port=1),
        good.replace("/postgres?", "/nowhere?"),
        good.replace("127.0.0.1", "nowhere.invalid"),
        good + "&colour=red",
        good + "&sslmode=perhaps",
        good + "&sslmode=require",
        good + "&schema=again",
        good + "&options=-c%20nonsense",
        good.replace("secured2:", "nobody:"),
        good.replace("postgresql://", "postgresql:/"),
        good.replace("postgresql://", "mysql://"),
        good.replace(f":{urlsplit(good).port}/", ":abc/"),
        good.replace("127.0.0.1", "[127.0.0.1"),
    ]
    for address in broken:
        opens: list[Callable[[], object]] = [
            lambda address=address: qmtl.SeamlessDataProvider(address),
            lambda address=address: copy_store(address, tmp_path / uuid4().hex),
            lambda address=address: copy_store(good, address),
        ]
        for open_it in opens:
            with pytest.raises(QmtlError) as failure:
                open_it()
            account.check(said(failure.value))
        settings = tmp_path / "qmtl.yml"
        settings.write_text(f"seamless:\n  store: {json.dumps(address)}\n")
        try:
            account.check(repr(Settings.load(settings, env={})))
        except QmtlError as refused:
            account.check(said(refused))
    account.check(caplog.text)


def test_a_store_in_use_does_not_tell_it(
    account: Account, schema: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    url = account.url(schema)
    with closing(TcpProxy(account._server.port)) as wire:
        place = account.url(schema, port=wire.port)
        with qmtl.SeamlessDataProvider(place, vendors=ScriptedVendor()) as provider:
            result = provider.fetch(NAME, "2024-01-01", "2024-01-02")
            account.check(
                repr(provider), str(provider), repr(provider.store), repr(vars(provider.store)), repr(result)
            )
            account.check(
                str(result), json.dumps(result.receipt.to_json()), repr(result.receipt), result._repr_html_()
            )
            account.check(repr(pickle.loads(pickle.dumps(result.receipt))))
            account.check(str(provider.store.info()), repr(provider.store.location))
            wire.passes = lambda direction, piece, source: 0
            with pytest.raises(QmtlError) as lost:
                provider.fetch(NAME, "2024-01-01", "2024-01-03")
            account.check(said(lost.value))
    with psycopg.connect(account._server.url()) as owner, PostgresStore(url) as store:
        store.newest()
        account.check(repr(owner.execute("SELECT * FROM pg_stat_activity").fetchall()))
        account.check(repr(owner.execute(f"SELECT * FROM {schema}.tx").fetchall()))
    account.check(caplog.text, *capfd.readouterr())
    account.check((account._server.folder / "log").read_text())


def test_no_command_tells_it(account: Account, schema: str, tmp_path: Path) -> None:
    """Nor the list of processes, where it comes from the settings, the environment or libpq's own file."""
    program = Path(sys.executable).with_name("qmtl")
    (tmp_path / "bars.csv").write_text("ts,open,high,low,close,volume\n2024-01-02,2,3,1,2,10\n")
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state"), "COLUMNS": "200"}

    def run(address: str, *words: str) -> int:
        process = subprocess.Popen(
            [program, *words],
            cwd=tmp_path,
            env={**environment, "QMTL_SEAMLESS_STORE": address},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        listed = Path(f"/proc/{process.pid}/cmdline")
        if listed.exists():
            account.check(listed.read_text())
        account.check(*process.communicate(timeout=300))
        return process.returncode

    url = account.url(schema)
    assert run(url, "-v", "import", "bars.csv", "--series", "ohlcv:mine:GOLD:1d") == 0
    assert run(url, "--json", "doctor") == 0
    wrong = account.url(schema, secret=account.secret + "!")
    assert run(wrong, "--log", "json", "-v", "store", "info") == 7
    assert run(wrong, "doctor") == 7
    for path in (tmp_path / "state").rglob("*"):
        if path.is_file():
            account.check(path.read_text(errors="replace"))


def test_a_wrong_password_is_named_as_such(account: Account, schema: str) -> None:
    with pytest.raises(StoreError, match="the database refuses the login") as refused:
        PostgresStore(account.url(schema, secret="another"))
    assert 'password authentication failed for user "secured2"' in str(refused.value.why)
    assert refused.value.next_step is not None
    assert "~/.pgpass, PGPASSWORD" in refused.value.next_step
