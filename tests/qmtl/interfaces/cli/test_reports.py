"""Reports that lack something, as older versions may have written them, are shown with what is there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from qmtl.interfaces.cli.main import app
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.testing.store_suites.bars import SERIES, some_bars, write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with EmbeddedStore(tmp_path / "bars") as store:
        store.commit(SERIES, write(some_bars(0, 5)))
        store.archive_report(SERIES, {"errors": 0, "warnings": 2})
    return tmp_path / "bars"


@pytest.mark.parametrize("command", [["list"], ["show", SERIES.text]])
def test_what_is_there_is_shown(folder: Path, command: list[str]) -> None:
    shown = CliRunner().invoke(app, ["--store", str(folder), "reports", *command])
    assert shown.exit_code == 0, shown.output
    assert SERIES.text in shown.output or "2 warnings" in shown.output
    as_json = CliRunner().invoke(app, ["--store", str(folder), "reports", *command, "--json"])
    assert as_json.exit_code == 0
    found = json.loads(as_json.stdout)
    assert (found[0] if command == ["list"] else found)["warnings"] == 2


def test_what_is_lacking_is_named(folder: Path) -> None:
    shown = CliRunner().invoke(app, ["--store", str(folder), "reports", "show", SERIES.text])
    assert "not stored" in shown.output
    assert "range" in shown.output


def test_a_range_that_is_not_stored_is_asked_for(folder: Path) -> None:
    refused = CliRunner().invoke(app, ["--store", str(folder), "reports", "accept", SERIES.text])
    assert refused.exit_code != 0
    assert "KeyError" not in repr(refused.exception)
