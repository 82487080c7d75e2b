"""`qmtl schema` against a real registry, a process of its own: from register to roll back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qmtl.foundation.schema.builtin import BUILTIN
from qmtl.foundation.schema.governance.bundle import Bundle
from qmtl.foundation.schema.governance.decisions import ValidationMode
from qmtl.foundation.schema.governance.reader import GovernanceReader
from qmtl.foundation.schema.registry.rest.records import RemoteRecords
from qmtl.runtime.testing import FakeClock
from tests.qmtl.command_line import CommandLine, served_registry


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    with served_registry(tmp_path) as address:
        yield address


@pytest.fixture
def cli(cli: CommandLine, url: str, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    monkeypatch.setenv("XDG_STATE_HOME", str(cli.folder / "state"))
    monkeypatch.setenv("QMTL_SCHEMA_REGISTRY_URL", url)
    folder = cli.folder / "schemas" / "v1"
    folder.mkdir(parents=True)
    for file in BUILTIN.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return cli


def other_bars(cli: CommandLine, **properties: Any) -> Path:
    value = json.loads((BUILTIN / "ohlcv.json").read_text())
    value["properties"] |= properties
    path = cli.folder / "ohlcv.json"
    path.write_text(json.dumps(value))
    return path


def test_from_register_to_roll_back(cli: CommandLine, url: str) -> None:
    registered = cli.json("schema", "register")
    assert [(one["subject"], one["version"], one["entry"]) for one in registered] == [
        ("ohlcv", 1, 1),
        ("trades", 1, 2),
    ]
    assert [one["entry"] for one in cli.json("schema", "register")] == [None, None]

    narrower = other_bars(cli, volume={"type": "number"})
    assert cli.json("schema", "check", "ohlcv", narrower, code=6)["compatible"] is False
    refused = cli.json("schema", "register", "ohlcv", narrower, code=6)["error"]
    assert refused["code"] == 40901
    assert refused["comparisons"][0]["problems"][0]["counterexample"]["volume"] is None
    assert '"volume": null' in cli.run("schema", "register", "ohlcv", narrower).stdout

    wider = other_bars(cli, vwap={"type": "number"})
    assert cli.json("schema", "register", "ohlcv", wider)[0]["version"] == 2
    assert cli.json("schema", "diff", "ohlcv", "1", "2")["changes"] == [
        {"path": "/properties/vwap", "change": "added", "new": {"type": "number"}}
    ]

    row = {"ts": 0, "open": 1, "high": 1, "low": 1, "close": 1, "volume": 1}
    (cli.folder / "rows.jsonl").write_text(json.dumps(row))
    assert cli.json("schema", "observe", "ohlcv", "rows.jsonl", "--version", "1")["checked"] == 1
    assert cli.json("schema", "promote", "ohlcv", code=6)["error"]["version"] == 2
    assert cli.json("schema", "observe", "ohlcv", "rows.jsonl")["version"] == 2
    entry = cli.json("schema", "promote", "ohlcv")
    assert entry["bundle_sha256"] == Bundle.read(BUILTIN).sha256
    assert entry["evidence"]["other_versions"] == {"1": {"checked": 1, "failed": 0}}

    records, clock = RemoteRecords.at(url), FakeClock()
    reader = GovernanceReader(records, clock=clock)
    assert reader.mode("ohlcv") is ValidationMode.STRICT
    cli.json("schema", "rollback", "ohlcv", "--reason", "a vendor sends text")
    clock.advance(5)
    assert reader.mode("ohlcv") is ValidationMode.CANARY
    records.close()

    cli.json("schema", "tombstone", "ohlcv", "2", "--reason", "vwap was of the day before")
    refused = cli.json("schema", "show", "ohlcv", "2", code=6)["error"]
    assert (refused["kind"], refused["reason"]) == ("TombstonedError", "vwap was of the day before")
    assert cli.json("schema", "show", "ohlcv")["version"] == 1
    kept = cli.json("schema", "show", "ohlcv", "2", "--tombstoned")
    assert (kept["version"], kept["tombstone"]) == (2, "vwap was of the day before")
    assert cli.run("schema", "tombstone", "ohlcv", "7", "--reason", "x").exit_code == 2

    actions = [one["action"] for one in cli.json("schema", "audit", "show")]
    assert actions == ["register", "register", "register", "promote", "rollback", "tombstone"]
    assert cli.json("schema", "audit", "verify")["anchored"] is True
    assert not cli.store.exists()


def test_the_level_is_shown_and_set(cli: CommandLine) -> None:
    assert cli.json("schema", "compat")["level"] == "BACKWARD"
    cli.json("schema", "register")
    assert cli.json("schema", "compat", "ohlcv", "--set", "full_transitive")["level"] == "FULL_TRANSITIVE"
    assert cli.json("schema", "compat", "ohlcv")["level"] == "FULL_TRANSITIVE"
    assert cli.json("schema", "compat", "trades")["level"] == "BACKWARD"
    assert cli.json("schema", "compat", "ohlcv", "--set", "sideways", code=6)["error"]["code"] == 42203
    assert cli.json("schema", "audit", "show")[-1]["evidence"] == {
        "before": "BACKWARD",
        "level": "FULL_TRANSITIVE",
    }


def test_nothing_is_registered_that_could_not_be_written_down(cli: CommandLine) -> None:
    log = cli.folder / "schemas" / "audit_log.jsonl"
    log.write_text("{}\n")
    assert cli.run("schema", "register").exit_code == 6
    log.unlink()
    assert cli.run("schema", "diff", "ohlcv", "1", "latest").exit_code == 6  # there is no such subject


def test_a_registry_that_is_down_is_never_called_compatible(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QMTL_SCHEMA_REGISTRY_URL", "http://127.0.0.1:9")
    for words in (("check", "ohlcv"), ("promote", "ohlcv"), ("register",), ("status", "ohlcv")):
        result = cli.run("schema", *words)
        assert result.exit_code == 7, result.output
        assert "compatible" not in result.output
    assert not (cli.folder / "schemas" / "audit_log.jsonl").exists()


def test_a_huge_counterexample_is_described_by_its_size_and_given_whole_to_machines(
    cli: CommandLine,
) -> None:
    cli.json("schema", "register")
    many = [f"column_{number}" for number in range(1_000)]
    value = json.loads((BUILTIN / "ohlcv.json").read_text())
    value |= {"properties": {name: {"type": "number"} for name in many}, "required": many}
    wide = cli.folder / "wide.json"
    wide.write_text(json.dumps(value))
    assert cli.json("schema", "register", "wide", wide)[0]["version"] == 1
    value["properties"]["column_7"] = {"type": "string"}
    wide.write_text(json.dumps(value))
    shown = cli.run("schema", "check", "wide", wide)
    assert shown.exit_code == 6
    assert "too long to show here; --json gives it whole" in " ".join(shown.stdout.split())
    assert "column_999" not in shown.stdout
    reported = cli.json("schema", "check", "wide", wide, code=6)
    found = reported["comparisons"][0]["problems"][0]["counterexample"]
    assert set(found) == set(many)


def test_a_fetch_says_that_the_registry_could_not_be_asked(
    cli: CommandLine, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cli.folder / "X.csv").write_text(
        "time,open,high,low,close,volume\n2024-01-01T00:00:00Z,1,1,1,1,1\n2024-01-01T00:01:00Z,1,1,1,1,1\n"
    )
    assert cli.run("import", "X.csv", "--series", "ohlcv:mine:X:1m").exit_code == 0
    asked = ("fetch", "ohlcv:mine:X:1m", "2024-01-01", "2024-01-01T00:02")
    assert "not judged   schema: 2 bars, nothing is registered" in cli.run(*asked).stdout
    cli.json("schema", "register")
    assert "not judged" not in cli.run(*asked).stdout
    assert f"{url} answers, with 2 subjects" in cli.run("doctor").stdout

    monkeypatch.setenv("QMTL_SCHEMA_REGISTRY_URL", "http://127.0.0.1:9")
    result = cli.run(*asked)
    assert result.exit_code == 0
    assert "not judged   schema: 2 bars, the schema registry cannot be asked" in result.stdout
    [line] = [line for line in cli.run("doctor").stdout.splitlines() if "registry" in line.split()[:2]]
    assert line.split()[0] == "fail"
    assert "http://127.0.0.1:9 cannot be reached" in line
