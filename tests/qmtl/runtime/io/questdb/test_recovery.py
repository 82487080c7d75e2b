"""The page on QuestDB says what to do after a loss: each of its steps is done here, as it stands there."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from uuid import uuid4

import pytest
from typer.testing import CliRunner, Result

from qmtl.foundation.timeline import Span
from qmtl.foundation.times import DAY
from qmtl.interfaces.cli.main import app
from qmtl.runtime.sdk.stores import questdb_store
from qmtl.runtime.testing.bars import synthetic_bars
from tests.qmtl.ports import free_port
from tests.qmtl.questdb import PASSWORD, USER, QuestDBServer, questdb_jar

PAGE = Path(__file__).parents[5] / "docs/en/operations/questdb.md"
SERIES = "ohlcv:mine:GOLD:1d"
DAYS = 600


def steps_by_heading() -> dict[str, list[str]]:
    """The commands below each heading of the section, one a line."""
    section = PAGE.read_text(encoding="utf-8").split("\n## Recovery\n")[1].split("\n## ")[0]
    parts = re.split(r"^### (.*)$", section, flags=re.MULTILINE)[1:]
    return {
        heading: "".join(re.findall(r"```text\n(.*?)```", text, re.DOTALL)).splitlines()
        for heading, text in zip(parts[::2], parts[1::2], strict=True)
    }


class Desk:
    """A store of the page, on a server of tests, and the commands of the page on it."""

    def __init__(self, server: QuestDBServer, folder: Path) -> None:
        self.server, self.folder, self.name = server, folder, f"desk{uuid4().hex}"
        self.new = server
        self.url = server.url(folder / "bars", self.name)

    def run(self, command: str) -> Result | None:
        """Does one line of the page; None for one that is no command of ours."""
        for words, there in (
            ("questdb://db.desk:9000", self.server.url("", "").partition("?")[0]),
            ("questdb://new.desk:9000", self.new.url("", "").partition("?")[0]),
            ("http://db.desk:9000", f"http://127.0.0.1:{self.server.port}"),
            ("/var/lib", str(self.folder)),
            ("/backups", str(self.folder)),
            ("name=again", f"name=again_{self.name}"),
            ("name=desk", f"name={self.name}"),
            ("desk_", f"{self.name}_"),
        ):
            command = command.replace(words, there)
        program, *words_of_it = shlex.split(command)
        if program == "curl":
            subprocess.run([program, "--user", f"{USER}:{PASSWORD}", *words_of_it], check=True)
            return None
        assert program == "qmtl"
        return CliRunner().invoke(app, ["--config", "qmtl.yml", *words_of_it])

    def done(self, *words: str) -> Result:
        return CliRunner().invoke(app, ["--config", "qmtl.yml", "--store", self.url, *words])

    def says(self, statement: str) -> None:
        with questdb_store(self.url) as store:
            table = store._rows.table
            table.server.query(statement.replace("BARS", table.name))
            if "SUSPEND" not in statement:
                table.server.query("SELECT 1") if "DROP TABLE" in statement else table.settle()


@pytest.fixture
def desk(questdb_server: QuestDBServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.chdir(tmp_path)
    Path("qmtl.yml").write_text("seamless: {}\n")
    synthetic_bars(SERIES, Span(0, DAYS * DAY)).write_csv("bars.csv")
    made = Desk(questdb_server, tmp_path)
    imported = made.done("import", "bars.csv", "--series", SERIES)
    assert imported.exit_code == 0, imported.output
    return made


def fetched(desk: Desk, url: str | None = None) -> str:
    desk.url = url or desk.url
    found = desk.done("fetch", SERIES, "1970-01-01", "1971-08-01", "--partial-ok", "-o", "found.csv")
    assert found.exit_code == 0, found.output
    text = Path("found.csv").read_text()
    assert len(text.splitlines()) > DAYS // 2
    return text


def succeed(desk: Desk, heading: str) -> list[str]:
    """Does all steps of a heading; what those of ours print."""
    outputs = []
    for command in steps_by_heading()[heading]:
        result = desk.run(command)
        if result is not None:
            assert result.exit_code == 0, f"{command}: {result.output}"
            outputs.append(result.output)
    return outputs


def a_killed_server(desk: Desk) -> None:
    before = fetched(desk)
    desk.server.kill()
    refused = desk.done("store", "verify")
    desk.server.start()
    assert refused.exit_code
    assert "does not answer" in refused.output
    succeed(desk, "A server that was killed")
    assert fetched(desk) == before


def a_suspended_table(desk: Desk) -> None:
    desk.says("ALTER TABLE BARS SUSPEND WAL WITH 28, 'No space left on device'")
    synthetic_bars(SERIES, Span(0, 2 * DAYS * DAY)).write_csv("more.csv")
    refused = desk.done("import", "more.csv", "--series", SERIES)
    assert refused.exit_code
    assert "No space left" in refused.output
    assert "its table is suspended" in desk.done("doctor").output
    *_, examined = succeed(desk, "A table that is suspended, or a disk that was full")
    assert "all that it has taken can be read" in examined
    repeated = desk.done("import", "more.csv", "--series", SERIES)
    assert repeated.exit_code == 0, repeated.output


def edited_rows(desk: Desk) -> None:
    before = fetched(desk)
    desk.says("UPDATE BARS SET close = close + 1")
    assert desk.done("store", "verify").exit_code == 7
    succeed(desk, "Rows that somebody has edited or deleted")
    assert fetched(desk) == before


def a_table_that_is_gone(desk: Desk) -> None:
    before = fetched(desk)
    desk.says("DROP TABLE BARS")
    refused = desk.done("store", "verify")
    (statement, *_) = steps_by_heading()["A table that is gone"]
    named = re.findall(r"CREATE TABLE.*KEYS\(ts, series, tx\)", statement.replace("desk_", f"{desk.name}_"))
    assert named[0] in " ".join(refused.output.split())
    succeed(desk, "A table that is gone")
    assert fetched(desk) == before


def a_catalog_that_is_gone(desk: Desk) -> None:
    before, folder = fetched(desk), desk.folder
    (folder / "backup").mkdir()
    assert desk.done("store", "backup", str(folder / "backup/bars")).exit_code == 0
    (folder / "bars").rename(folder / "gone")
    refused = desk.done("import", "bars.csv", "--series", SERIES)
    assert "belongs to another catalog" in refused.output
    (folder / "bars").rename(folder / "empty")
    (folder / "backup/bars").rename(folder / "bars")
    succeed(desk, "A catalog that is gone")
    assert fetched(desk, desk.server.url(folder / "again", f"again_{desk.name}")) == before


def another_server(desk: Desk) -> None:
    before, name = fetched(desk), desk.name
    moved, copied = steps_by_heading()["Another server"]
    jar = questdb_jar()
    assert jar is not None
    desk.new = QuestDBServer(jar)
    try:
        result = desk.run(copied)
        assert result is not None
        assert result.exit_code == 0, result.output
        assert fetched(desk, desk.new.url(desk.folder / "again", name)) == before
        desk.new.kill()
        desk.new.port = free_port()
        desk.new.start()
        (desk.folder / "bars").rename(desk.folder / "old")
        (desk.folder / "again").rename(desk.folder / "bars")
        result = desk.run(moved)
        assert result is not None
        assert result.exit_code == 0, result.output
        assert fetched(desk, desk.new.url(desk.folder / "bars", name)) == before
    finally:
        desk.new.remove()


STEPS = {
    "A server that was killed": a_killed_server,
    "A table that is suspended, or a disk that was full": a_suspended_table,
    "Rows that somebody has edited or deleted": edited_rows,
    "A table that is gone": a_table_that_is_gone,
    "A catalog that is gone": a_catalog_that_is_gone,
    "Another server": another_server,
}


@pytest.mark.parametrize("heading", STEPS)
def test_the_steps_of_the_page_bring_all_back(desk: Desk, heading: str) -> None:
    STEPS[heading](desk)


def test_each_heading_is_done() -> None:
    assert list(steps_by_heading()) == list(STEPS)
