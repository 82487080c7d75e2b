"""What the commands say of a store with rows in QuestDB, and what the doctor warns of."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from typer.testing import Result

from qmtl.foundation.settings import Settings
from qmtl.interfaces.cli.questdb_checks import facts_of, questdb_checks
from qmtl.runtime.io.questdb.state import QuestDBState
from qmtl.runtime.io.sql.catalogs import Forgotten
from qmtl.runtime.testing.store_suites.bars import some_bars
from tests.qmtl.command_line import CommandLine
from tests.qmtl.questdb import PASSWORD, QuestDBServer

GOOD = QuestDBState("9.3.4", "sync", 600, 4_096, 0, None, "desk_bars", "desk_current", 0)
SERIES = "ohlcv:mine:BTC/USDT:1m"


@pytest.mark.parametrize(
    ("state", "found"),
    [
        (GOOD, [("ok", "QuestDB 9.3.4, all that it has taken can be read")]),
        (replace(GOOD, behind=3), [("warn", "QuestDB 9.3.4, 3 transactions behind")]),
        (
            replace(GOOD, pg_trouble="TimeoutError: timed out"),
            [
                ("ok", "QuestDB 9.3.4, all that it has taken can be read"),
                (
                    "warn",
                    "pg= of the address does not work, and few bars come by HTTP: TimeoutError: timed out",
                ),
            ],
        ),
        (
            replace(GOOD, behind=3, suspended_why="disk full"),
            [("fail", "QuestDB 9.3.4, its table is suspended: disk full")],
        ),
    ],
)
def test_what_the_doctor_says_of_a_server(state: QuestDBState, found: list[tuple[str, str]]) -> None:
    assert [(check.outcome, check.detail) for check in questdb_checks(state)] == found


def test_a_server_that_does_not_wait_for_the_disk_is_warned_of() -> None:
    first, second = questdb_checks(replace(GOOD, commit_mode="nosync"))
    assert (first.outcome, second.outcome) == ("ok", "warn")
    assert "a loss of power may take the newest rows" in second.detail
    assert "cairo.commit.mode=sync" in second.fix
    assert dict(facts_of(GOOD))["durability"] == "cairo.commit.mode sync: the server waits for the disk"


def test_a_view_that_trails_and_an_older_catalog_are_told_of() -> None:
    assert dict(facts_of(GOOD))["view"].startswith(
        "desk_current: all chunks that hold; single rows are not in"
    )
    empty = replace(GOOD, rows=0, trails_by=None)
    assert dict(facts_of(empty))["view"] == "desk_current: there is none that follows the catalog"
    assert [check.outcome for check in questdb_checks(empty)] == ["ok"]
    for trails_by, said in ((2, "2 commits behind"), (None, "there is none that follows the catalog")):
        state = replace(GOOD, trails_by=trails_by)
        assert f"desk_current: {said}; the next commit" in dict(facts_of(state))["view"]
        _, check = questdb_checks(state)
        assert (check.outcome, check.detail) == ("warn", f"desk_current: {said}")
        assert "qmtl store compact" in check.fix
    older = replace(GOOD, forgotten=Forgotten(1_300, 5, 0))
    assert "1,300 rows of commits from 5 (1970-01-01" in dict(facts_of(older))["older catalog"]
    _, check = questdb_checks(older)
    assert check.outcome == "warn"
    assert "nobody is shown them" in check.detail
    assert "are asked for again" in check.fix


@pytest.fixture
def url(questdb_server: QuestDBServer, tmp_path: Path) -> str:
    """The address of a store that does not exist yet."""
    return questdb_server.url(tmp_path / "catalog", f"cli_{uuid4().hex}")


@pytest.fixture
def run(cli: CommandLine, url: str) -> Callable[..., Result]:
    """Runs a command on it."""
    return lambda *words: cli.run(*words, before=("--store", url))


def test_a_store_is_filled_looked_at_and_tidied_by_commands(
    run: Callable[..., Result], tmp_path: Path
) -> None:
    file = tmp_path / "bars.csv"
    some_bars(0, 600).write_csv(file)
    assert "no catalog yet" in run("doctor").output
    imported = run("import", file, "--series", SERIES)
    assert imported.exit_code == 0, imported.output
    told = run("store", "info").output
    assert "QuestDB 9.3.4, all that it has taken can be read" in told
    assert "cairo.commit.mode nosync: a loss of power may take the newest rows" in told
    assert "600 rows of all versions" in told
    examined = run("doctor").output
    assert "cairo.commit.mode is nosync" in examined
    for words in (
        ("store", "verify"),
        ("store", "compact"),
        ("coverage", SERIES, "1970-01-01", "1970-01-02"),
    ):
        done = run(*words)
        assert done.exit_code == 0, done.output
        told += done.output
    assert PASSWORD not in told + examined + imported.output


def test_a_catalog_from_an_older_backup_is_told_of_by_commands(
    run: Callable[..., Result], tmp_path: Path
) -> None:
    def imported(first: int) -> None:
        some_bars(first, 600).write_csv(tmp_path / "bars.csv")
        assert run("import", tmp_path / "bars.csv", "--series", SERIES).exit_code == 0

    imported(0)
    shutil.copytree(tmp_path / "catalog", tmp_path / "backup")
    imported(600)
    shutil.rmtree(tmp_path / "catalog")
    shutil.move(tmp_path / "backup", tmp_path / "catalog")
    said = "600 rows of commits from 2"
    for words in (("store", "info"), ("store", "verify"), ("doctor",)):
        done = run(*words)
        assert said in " ".join(done.output.split()), words
    assert json.loads(run("store", "info", "--json").stdout)["server"]["forgotten"]["rows"] == 600
    (note,) = json.loads(run("store", "verify", "--json").stdout)["notes"]
    assert said in note
    assert run("store", "verify", "--acknowledge").exit_code == 0
    assert said not in run("store", "info").output


def test_a_backup_is_a_folder_that_answers_alike(
    run: Callable[..., Result], cli: CommandLine, tmp_path: Path
) -> None:
    file, copy = tmp_path / "bars.csv", tmp_path / "copy"
    some_bars(0, 600).write_csv(file)
    assert run("import", file, "--series", SERIES).exit_code == 0
    made = run("store", "backup", copy)
    assert made.exit_code == 0, made.output
    assert PASSWORD not in made.output
    asked = ("fetch", SERIES, "1970-01-01", "1970-01-01T10:00", "--partial-ok", "-o")
    there, here = tmp_path / "there.csv", tmp_path / "here.csv"
    assert cli.run(*asked, there, before=("--store", str(copy))).exit_code == 0
    assert run(*asked, here).exit_code == 0
    assert len(there.read_text().splitlines()) == 601
    assert there.read_text() == here.read_text()


def test_the_server_of_its_catalog_is_told_as_well(
    cli: CommandLine, questdb_server: QuestDBServer, postgres_url: str, tmp_path: Path
) -> None:
    url = questdb_server.url(postgres_url, f"cli_{uuid4().hex}")
    before = ("--store", url)
    assert "no catalog yet" in cli.run("doctor", before=before).output
    some_bars(0, 600).write_csv(tmp_path / "bars.csv")
    assert cli.run("import", tmp_path / "bars.csv", "--series", SERIES, before=before).exit_code == 0
    told = cli.run("store", "info", before=before).output
    assert "QuestDB 9.3.4, all that it has taken can be read" in told
    assert "catalog's server" in told
    assert "catalog's durability" in told
    known = json.loads(cli.run("store", "info", "--json", before=before).stdout)
    assert (known["server"]["rows"], known["catalog"]["fsync"]) == (600, True)
    examined = cli.run("doctor", before=before).output
    assert "cairo.commit.mode is nosync" in examined
    assert "a primary without a replica" in examined
    assert PASSWORD not in told + examined


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("store", "restore", "copy"), "there is a store at"),
        (("store", "copy", "copy", "URL"), "there is a store at"),
        (("store", "grant", "reader", "me"), "QuestDB"),
    ],
)
def test_what_would_replace_a_store_or_give_rights_is_refused(
    run: Callable[..., Result], url: str, tmp_path: Path, words: tuple[Any, ...], why: str
) -> None:
    file = tmp_path / "bars.csv"
    some_bars(0, 2).write_csv(file)
    assert run("import", file, "--series", SERIES).exit_code == 0
    given = {"URL": url, "copy": tmp_path / "copy"}
    assert run("store", "backup", given["copy"]).exit_code == 0
    refused = run(*words[:2], *(given.get(word, word) for word in words[2:]))
    assert refused.exit_code != 0
    assert why in refused.output
    assert PASSWORD not in refused.output


def test_a_relative_catalog_in_a_file_starts_at_its_folder(tmp_path: Path) -> None:
    (tmp_path / "qmtl.yml").write_text("seamless:\n  store: questdb://localhost?catalog=bars\n")
    store = Settings.load(tmp_path / "qmtl.yml").seamless.store
    assert str(store) == f"questdb://localhost:9000?catalog={tmp_path / 'bars'}&name=qmtl"
