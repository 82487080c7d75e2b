"""Copies of stores on the command line: what was copied, how it was proven, and where nothing is copied."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from qmtl.interfaces.cli.main import app
from qmtl.runtime.io.sql.sqlite.copy_target import INCOMPLETE
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.sdk.store_copy import copy_store
from qmtl.runtime.testing.store_suites.bars import SERIES, some_bars, write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with EmbeddedStore(tmp_path / "bars") as store:
        store.commit(SERIES, write(some_bars(0, 5_000)))
        store.pin("paper")
    return tmp_path / "bars"


def test_a_copy_says_what_it_brought(folder: Path, tmp_path: Path) -> None:
    shown = CliRunner().invoke(app, ["store", "copy", str(folder), str(tmp_path / "copy")])
    assert shown.exit_code == 0, shown.output
    said = " ".join(shown.output.split())
    assert "1 series, 5,000 rows, 1 commit, the newest of 20" in said
    assert "were read back; bars, answers and facts were compared at the newest commit, and at 1 pin" in said
    assert "earlier attempt" not in said


def test_a_copy_for_machines_and_what_an_earlier_attempt_has_left(folder: Path, tmp_path: Path) -> None:
    def interrupt(what: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy_store(folder, tmp_path / "copy", progress=interrupt)
    assert (tmp_path / "copy" / INCOMPLETE).is_dir()
    shown = CliRunner().invoke(app, ["store", "copy", "--json", str(folder), str(tmp_path / "copy")])
    assert shown.exit_code == 0, shown.output
    found = json.loads(shown.stdout)
    assert found["source"] == str(folder)
    assert found["target"] == str(tmp_path / "copy")
    assert (found["last_tx"], found["rows"], found["resumed"], found["pins"]) == (1, 5_000, 1, ["paper"])
    assert found["as_of_iso"].startswith("20")
    assert "1 chunk had been copied by an earlier attempt" in shown.stderr


def test_what_is_there_is_not_replaced(folder: Path, tmp_path: Path) -> None:
    refused = CliRunner().invoke(app, ["store", "copy", str(folder), str(folder / "within")])
    assert refused.exit_code != 0
    with EmbeddedStore(tmp_path / "other"):
        pass
    refused = CliRunner().invoke(app, ["store", "copy", str(folder), str(tmp_path / "other")])
    assert refused.exit_code != 0
    assert "there is a store at" in str(refused.exception) + refused.output


def test_a_copy_to_a_snapshot_and_back_tells_what_it_does_not_keep(folder: Path, tmp_path: Path) -> None:
    out, again = f"snapshot:{tmp_path / 'out'}", str(tmp_path / "again")
    shown = CliRunner().invoke(app, ["store", "copy", "--json", str(folder), out])
    assert shown.exit_code == 0, shown.output
    found = json.loads(shown.stdout)
    assert (found["source"], found["target"]) == (str(folder), out)
    assert (found["number"], found["rows"]) == (1, 5_000)
    assert found["not_kept"] == ["1 commit time", "1 pin"]
    assert "not kept: 1 commit time, 1 pin" in " ".join(shown.stderr.split())
    back = CliRunner().invoke(app, ["store", "copy", f"{out}#1", again])
    assert back.exit_code == 0, back.output
    said = " ".join(back.output.split())
    assert "snapshot 1, 1 series, 5,000 rows" in said
    assert found["fingerprint"] in said
    assert "not kept: the id of the store" in said
    with EmbeddedStore(Path(again)) as store:
        assert store.info().rows == 5_000
