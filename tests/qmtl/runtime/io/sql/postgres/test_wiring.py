"""An address of a server serves wherever a store is named, and its password is shown nowhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from typer.testing import CliRunner

from qmtl.foundation.clock import SystemClock
from qmtl.foundation.errors import InvalidRequestError, MissingDependencyError, StoreError
from qmtl.foundation.series import SeriesId
from qmtl.foundation.settings import Settings
from qmtl.foundation.store_address import StoreAddress
from qmtl.interfaces.cli import examination
from qmtl.interfaces.cli.main import app
from qmtl.runtime.io.sql.postgres.store import PostgresStore
from qmtl.runtime.io.store.values import Write
from qmtl.runtime.sdk.importing import import_file
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.sdk.stores import is_store, opened_store
from qmtl.runtime.testing.store_suites.bars import some_bars
from qmtl.runtime.testing.vendors import ScriptedVendor
from tests.qmtl.postgres import PASSWORD, PostgresServer

if TYPE_CHECKING:
    from click.testing import Result

SERIES = "ohlcv:mine:GOLD:1d"
BARS = "ts,open,high,low,close,volume\n2024-01-02,2,3,1,2,10\n2024-01-03,2,3,1,2,10\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "bars.csv").write_text(BARS)
    return tmp_path


def run(*words: str) -> Result:
    result = CliRunner().invoke(app, list(words))
    assert PASSWORD not in result.output
    assert "s3cret" not in result.output
    return result


@pytest.mark.parametrize("how", ["--store", "file", "QMTL_SEAMLESS_STORE"])
def test_commands(folder: Path, secured_url: str, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before: tuple[str, ...] = ()
    if how == "--store":
        before = ("--store", secured_url)
    elif how == "file":
        (folder / "qmtl.yml").write_text(f"seamless:\n  store: {secured_url}\n")
    else:
        monkeypatch.setenv(how, secured_url)
    nothing = run(*before, "store", "info")
    assert nothing.exit_code == 7, nothing.output
    assert "there is no store yet" in nothing.output
    assert run(*before, "import", "bars.csv", "--series", SERIES).exit_code == 0
    fetched = run(*before, "-v", "fetch", SERIES, "2024-01-02", "2024-01-04")
    assert fetched.exit_code == 0, fetched.output
    assert "present 2" in fetched.output
    info = json.loads(run(*before, "--json", "store", "info").stdout)
    assert (info["rows"], info["format"], info["read_only"]) == (2, 7, True)
    assert info["path"].startswith("postgresql://secured@127.0.0.1:")
    for words in (
        ("store", "verify"),
        ("store", "compact"),
        ("store", "pin", "first"),
        ("store", "pins"),
        ("store", "unpin", "first"),
        ("store", "declare", SERIES, "--calendar", "24x7"),
        ("commits", SERIES),
        ("reports", "list"),
        ("diff", SERIES, "2024-01-02", "2024-01-03"),
        ("export", SERIES, "-o", "out.csv"),
    ):
        done = run(*before, *words)
        assert done.exit_code == 0, done.output
    assert "2 rows" in run(*before, "doctor").output
    assert sorted(path.name for path in folder.iterdir() if path.name != "qmtl.yml") == [
        "bars.csv",
        "out.csv",
    ]


def test_the_doctor_says_what_it_finds(
    folder: Path, secured_url: str, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examination, "vendors", lambda settings, venues: iter(()))  # nobody is asked

    def found(address: str) -> tuple[str, str, str]:
        result = run("--store", address, "--json", "doctor")
        (check,) = [one for one in json.loads(result.stdout) if one["subject"] == "store"]
        assert result.exit_code == (7 if check["outcome"] == "fail" else 0)
        return check["outcome"], check["detail"], check["fix"]

    outcome, detail, _ = found(secured_url)
    assert (outcome, "can be reached; the first fetch or import makes a store" in detail) == ("ok", True)
    with PostgresStore(secured_url) as store:
        store.commit(SeriesId.parse(SERIES), Write("v", 1, some_bars(0, 1)))
    outcome, detail, _ = found(secured_url)
    assert (outcome, detail.rpartition(": ")[2]) == ("ok", "format 7, 1 series, 1 row")
    schema = secured_url.partition("schema=")[2]
    with psycopg.connect(postgres_server.url(), autocommit=True) as owner:
        owner.execute(f"UPDATE {schema}.setting SET value = 99 WHERE name = 'format'")
        outcome, detail, fix = found(secured_url)
        assert (outcome, "has format 99" in detail, fix) == ("fail", True, "pip install --upgrade qmtl")
        owner.execute(f"DROP TABLE {schema}.tx")
        outcome, detail, fix = found(secured_url)
        assert (outcome, "belongs to another program" in detail) == ("fail", True)
        assert "?schema=NAME" in fix
    outcome, detail, fix = found(secured_url.replace("s3cret", "wr0ng"))
    assert (outcome, "the database refuses the login" in detail, "~/.pgpass" in fix) == ("fail", True, True)
    outcome, detail, _ = found(secured_url.replace(f":{postgres_server.port}/", ":1/"))
    assert (outcome, "the database cannot be reached" in detail) == ("fail", True)


def test_the_doctor_names_what_was_lost_and_what_is_gone(
    folder: Path, postgres_url: str, postgres_server: PostgresServer
) -> None:
    def found() -> list[tuple[str, str, str]]:
        result = run("--store", postgres_url, "--json", "doctor")
        checks = json.loads(result.stdout)
        return [(c["outcome"], c["detail"], c["fix"]) for c in checks if c["subject"] == "store"]

    series = SeriesId.parse(SERIES)
    with PostgresStore(postgres_url) as store:
        store.commit(series, Write("v", 1, some_bars(0, 1_000)))
    assert [outcome for outcome, _, _ in found()] == ["ok"]
    with psycopg.connect(postgres_server.url(), autocommit=True) as owner:
        owner.execute(f"SET search_path = {postgres_url.partition('schema=')[2]}")
        owner.execute("UPDATE blob SET data = 'spoilt'")
        with PostgresStore(postgres_url) as store:
            (damage,) = store.verify(repair=True).damage
        _, (outcome, detail, fix) = found()
        assert (outcome, fix) == ("fail", "qmtl store verify")
        assert f"1 range lost to earlier damage: {series} {damage.span}" in detail
        owner.execute("DROP INDEX chunk_order")
        _, (_, detail, _) = found()
        assert "CREATE INDEX chunk_order ON chunk" in detail


def test_what_is_done_to_files_is_refused(folder: Path, secured_url: str) -> None:
    PostgresStore(secured_url).close()
    refused = run("--store", secured_url, "demo")
    assert refused.exit_code == 2, refused.output


def test_no_error_shows_a_password(folder: Path, secured_url: str) -> None:
    wrong = secured_url.replace("s3cret", "wr0ng")
    for address in (
        wrong,
        secured_url.replace("/postgres?", "/nowhere?"),
        secured_url.replace("127.0.0.1", "nowhere.invalid"),
        secured_url + "&colour=red",
        secured_url.replace("%40", "["),
    ):
        for before in ((), ("--json",), ("--log", "json")):
            refused = run("--store", address, *before, "store", "info")
            assert refused.exit_code in (2, 7), refused.output
            assert "wr0ng" not in refused.output
    with pytest.raises(StoreError) as failure:
        SeamlessDataProvider(wrong)
    assert "wr0ng" not in repr(failure.value) + str(failure.value) + repr(failure.value.__cause__)
    assert "wr0ng" not in repr(Settings.load(env={"QMTL_SEAMLESS_STORE": wrong}))


def test_a_provider_and_an_import(folder: Path, secured_url: str) -> None:
    with SeamlessDataProvider(secured_url, vendors=ScriptedVendor()) as provider:
        result = provider.fetch("ohlcv:test:BTC/USDT:1m", "2024-01-01", "2024-01-02")
        assert result.frame.height == 1_440
        assert "s3cret" not in repr(provider) + json.dumps(result.receipt.to_json()) + repr(result)
    outcome = import_file(secured_url, "bars.csv", SERIES)
    assert outcome.added == 2
    again = import_file(StoreAddress.parse(secured_url), "bars.csv", SERIES)
    assert (again.added, again.unchanged) == (0, 2)


def test_a_store_is_made_only_by_what_writes(postgres_url: str) -> None:
    address = StoreAddress.parse(postgres_url)
    assert not is_store(address)
    with pytest.raises(StoreError, match="no store to read"):
        PostgresStore(address, read_only=True)
    assert not is_store(address)
    opened_store(postgres_url, clock=SystemClock(), retention=None).close()
    assert is_store(address)


def test_libpq_finds_the_password_by_itself(
    folder: Path, secured_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, _, after = secured_url.rpartition("@")
    bare = f"{before.rpartition(':')[0]}@{after}"
    assert "s3cret" not in bare
    with pytest.raises(StoreError, match="refuses the login"):
        PostgresStore(bare)
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    PostgresStore(bare).close()
    monkeypatch.delenv("PGPASSWORD")
    passwords = folder / "pgpass"
    escaped = PASSWORD.replace(":", "\\:")
    passwords.write_text(f"*:*:*:*:{escaped}\n")
    passwords.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(passwords))
    with PostgresStore(bare) as store:
        assert store.newest() == (0, 0)


def test_without_psycopg_the_error_says_what_to_install(postgres_url: str) -> None:
    script = (
        "import sys; sys.modules['psycopg'] = None\n"
        "import qmtl\n"
        "try: qmtl.SeamlessDataProvider(sys.argv[1])\n"
        "except qmtl.MissingDependencyError as missing: print(missing.next_step)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, postgres_url], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "pip install 'qmtl[postgres]'", done.stderr
    assert issubclass(MissingDependencyError, ImportError)


def test_a_folder_does_not_load_psycopg(tmp_path: Path) -> None:
    script = (
        "import sys, qmtl\n"
        "qmtl.SeamlessDataProvider(sys.argv[1]).close()\n"
        "print([name for name in sys.modules if name.startswith('psycopg')])\n"
    )
    environment: dict[str, Any] = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")}
    words = [sys.executable, "-c", script, str(tmp_path / "bars")]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "[]"


def test_other_addresses_are_refused_as_before(folder: Path) -> None:
    with pytest.raises(InvalidRequestError, match="kdb://host is not served"):
        opened_store("kdb://host", clock=SystemClock(), retention=None)
    with pytest.raises(InvalidRequestError, match="cannot be used"):
        opened_store("postgresql:bars", clock=SystemClock(), retention=None)
    assert [path.name for path in folder.iterdir()] == ["bars.csv"]
