"""`qmtl schema` without a registry: the bundle says what a schema is, the store of bars keeps the records."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import polars as pl
import pytest

from qmtl.foundation.schema.builtin import BUILTIN
from qmtl.foundation.schema.governance.bundle import Bundle
from qmtl.foundation.schema.governance.decisions import Decision, ValidationMode, in_force
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.io.vendors.base import Page
from qmtl.runtime.testing import Change, ScriptedVendor
from tests.qmtl.command_line import CommandLine

GOOD = [{"ts": 60 * n, "open": 1.0, "high": 2.0, "low": 0.5, "close": 1.0, "volume": None} for n in range(3)]


@pytest.fixture
def cli(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """A folder with the bundle schemas/v1, and a state folder of its own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(cli.folder / "state"))
    for name in ("QMTL_SCHEMA_REGISTRY_URL",):
        monkeypatch.delenv(name, raising=False)
    folder = cli.folder / "schemas" / "v1"
    folder.mkdir(parents=True)
    for file in BUILTIN.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return cli


def rows(cli: CommandLine, *made: dict[str, Any]) -> Path:
    path = cli.folder / "rows.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in made))
    return path


def changed(cli: CommandLine, change: dict[str, Any]) -> Path:
    """The schema of bars with other properties."""
    value = json.loads((BUILTIN / "ohlcv.json").read_text())
    value["properties"] |= change
    path = cli.folder / "changed.json"
    path.write_text(json.dumps(value))
    return path


def test_what_is_in_force_is_written_down_and_verified(cli: CommandLine) -> None:
    entry = cli.json("schema", "audit", "append", "--bundle", "schemas/v1", "--note", "ohlcv 1m v1 canary")
    assert (entry["number"], entry["action"], entry["bundle"]) == (1, "note", "schemas/v1")
    assert entry["bundle_sha256"] == Bundle.read(BUILTIN).sha256
    assert entry["evidence"] == {"subjects": ["ohlcv", "trades"]}
    log = (cli.folder / "schemas" / "audit_log.jsonl").read_text()
    assert json.loads(log) == entry
    found = cli.json("schema", "audit", "verify")
    assert found["conclusion"] == "chain intact, end anchored at entry 1"
    assert found["head"] == f"1:{entry['hash']}"
    assert cli.json("schema", "audit", "show") == [entry]
    assert f"head 1:{entry['hash']}" in cli.run("schema", "audit", "show").stdout


def test_a_schema_that_is_none_is_not_written_down(cli: CommandLine) -> None:
    (cli.folder / "schemas" / "v1" / "bad.json").write_text('{"type": "nothing"}')
    result = cli.run("schema", "audit", "append", "--note", "x")
    assert (result.exit_code, "cannot be read" in result.output) == (6, True)
    assert not (cli.folder / "schemas" / "audit_log.jsonl").exists()


def test_an_edited_log_is_exit_6_with_all_that_was_found(cli: CommandLine) -> None:
    for number in range(3):
        cli.json("schema", "audit", "append", "--note", f"note {number}")
    log = cli.folder / "schemas" / "audit_log.jsonl"
    whole = log.read_text()
    log.write_text(whole.replace("note 1", "note 7"))
    found = cli.json("schema", "audit", "verify", code=6)
    assert found["intact"] is False
    shown = cli.run("schema", "audit", "show").stdout
    assert "broken: 1 problem" in shown
    assert "head 3:" not in shown
    assert found["problems"] == ["line 2: entry 2 was edited; it does not match its hash"]
    result = cli.run("schema", "audit", "append", "--note", "more")
    assert result.exit_code == 6
    assert "bring the file back" in result.output
    log.write_text("".join(whole.splitlines(keepends=True)[:2]))
    assert "its end was cut off" in cli.run("schema", "audit", "verify").stdout
    log.write_text(whole)
    assert cli.json("schema", "audit", "verify")["intact"] is True


def test_a_torn_line_is_reported_and_repaired(cli: CommandLine) -> None:
    cli.json("schema", "audit", "append", "--note", "x")
    log = cli.folder / "schemas" / "audit_log.jsonl"
    with log.open("a") as file:
        file.write('{"number":2,')
    assert cli.json("schema", "audit", "verify", code=6)["torn"] == 12
    assert "audit repair" in cli.run("schema", "audit", "append", "--note", "y").output
    assert cli.json("schema", "audit", "repair")["evidence"] == {"torn": '{"number":2,'}
    assert cli.json("schema", "audit", "verify")["intact"] is True
    assert cli.run("schema", "audit", "repair").stdout == "nothing is torn\n"


def test_without_an_anchor_the_end_is_not_sure_but_a_kept_head_makes_it_so(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = [cli.json("schema", "audit", "append", "--note", str(number)) for number in range(2)]
    monkeypatch.setenv("XDG_STATE_HOME", str(cli.folder / "another machine"))
    assert cli.json("schema", "audit", "verify")["conclusion"] == "chain intact, end not anchored"
    head = f"2:{entries[1]['hash']}"
    assert cli.json("schema", "audit", "verify", "--head", head)["anchored"] is True
    log = cli.folder / "schemas" / "audit_log.jsonl"
    log.write_text(log.read_text().splitlines(keepends=True)[0])
    assert cli.run("schema", "audit", "verify").exit_code == 0
    assert cli.run("schema", "audit", "verify", "--head", head).exit_code == 6
    assert cli.run("schema", "audit", "verify", "--head", "2").exit_code == 2


def test_a_canary_is_watched_promoted_and_rolled_back(cli: CommandLine) -> None:
    refused = cli.json("schema", "promote", "ohlcv", code=6)["error"]
    assert (refused["kind"], refused["version"]) == ("PromotionRefusedError", 1)
    assert (refused["evidence"]["checked"], refused["evidence"]["failed"]) == (0, 0)

    seen = cli.json("schema", "observe", "ohlcv", rows(cli, *GOOD))
    assert (seen["version"], seen["checked"], seen["failed"]) == (1, 3, 0)
    entry = cli.json("schema", "promote", "ohlcv", "--window", "2h")
    assert (entry["evidence"]["window_s"], entry["evidence"]["checked"]) == (7_200.0, 3)
    assert cli.json("schema", "status", "ohlcv")["mode"] == "strict"

    back = cli.json("schema", "rollback", "ohlcv", "--reason", "a vendor sends text")
    assert (back["number"], back["evidence"]) == (2, {"reason": "a vendor sends text"})
    assert cli.json("schema", "status", "ohlcv")["mode"] == "canary"
    with EmbeddedStore(cli.store, read_only=True) as store:
        decisions = store.decisions("ohlcv")
    assert in_force(decisions).mode is ValidationMode.CANARY
    assert [one.entry for one in decisions] == [f"{one['number']}:{one['hash']}" for one in (entry, back)]


def test_a_failing_canary_is_shown_and_refused_unless_overridden(cli: CommandLine) -> None:
    file = rows(cli, *GOOD, GOOD[0] | {"open": "1.0"}, {"ts": 1})
    result = cli.run("schema", "observe", "ohlcv", file)
    assert result.exit_code == 0
    assert "5 rows checked, 2 failed" in result.stdout
    assert "row 4: open: '1.0' cannot stand in a column of Float64" in result.stdout
    assert "row 5: schema.column_missing: the column open is missing" in result.stdout
    error = cli.json("schema", "promote", "ohlcv", code=6)["error"]
    assert "2 of 5 rows failed" in error["message"]
    assert cli.run("schema", "promote", "ohlcv", "--override").exit_code == 2
    entry = cli.json("schema", "promote", "ohlcv", "--override", "--reason", "mended since")
    assert (entry["evidence"]["override"], entry["evidence"]["failed"]) == (True, 2)


def test_rows_that_the_store_refused_stand_against_a_promotion(
    cli: CommandLine, vendor: Callable[..., ScriptedVendor]
) -> None:
    def spoiled(page: Page) -> Page:
        return Page(page.frame.with_columns(high=pl.col("low") / 2), page.answered, page.absent)

    vendor(faults={0: Change(spoiled)})
    hour = ("ohlcv:test:X:1m", "2024-01-01", "2024-01-01T01:00:00Z")
    assert cli.run("fetch", *hour, "--partial-ok").exit_code == 0
    assert "60 rows checked, 60 failed" in cli.run("schema", "status", "ohlcv").stdout
    error = cli.json("schema", "promote", "ohlcv", code=6)["error"]
    assert "60 of 60 rows failed" in error["message"]


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_frames_are_observed_as_bars_are_stored(cli: CommandLine, suffix: str) -> None:
    from qmtl.foundation.frames import BAR_SCHEMA

    frame = pl.DataFrame(GOOD, schema_overrides={"volume": pl.Float64}).cast(BAR_SCHEMA)  # type: ignore[arg-type]  # a schema is a mapping
    path = cli.folder / f"rows.{suffix}"
    frame.write_parquet(path) if suffix == "parquet" else frame.write_ipc(path)
    assert cli.json("schema", "observe", "ohlcv", path)["failed"] == 0


def test_a_tombstone_needs_a_reason_and_is_kept(cli: CommandLine) -> None:
    assert cli.run("schema", "tombstone", "ohlcv", "1").exit_code == 2
    entry = cli.json("schema", "tombstone", "ohlcv", "1", "--reason", "was in lots")
    assert (entry["action"], entry["version"]) == ("tombstone", 1)
    with EmbeddedStore(cli.store, read_only=True) as store:
        assert in_force(store.decisions("ohlcv")).tombstones == {1: "was in lots"}
    assert "every version of ohlcv is tombstoned" in cli.run("schema", "promote", "ohlcv").output


def test_a_slip_in_a_name_changes_nothing(cli: CommandLine) -> None:
    for words in (
        ("rollback", "ohlvc"),
        ("promote", "ohlvc", "--override", "--reason", "x"),
        ("promote", "ohlcv", "--version", "7", "--override", "--reason", "x"),
        ("tombstone", "ohlcv", "7", "--reason", "x"),
    ):
        assert cli.run("schema", *words).exit_code == 2, words
    assert not (cli.folder / "schemas" / "audit_log.jsonl").exists()


def test_a_tombstoned_version_is_not_promoted_and_its_status_is_shown(cli: CommandLine) -> None:
    cli.json("schema", "tombstone", "ohlcv", "1", "--reason", "was in lots")
    force = ("--override", "--reason", "x")
    error = cli.json("schema", "promote", "ohlcv", "--version", "1", *force, code=6)["error"]
    assert error["kind"] == "TombstonedError"
    assert cli.json("schema", "status", "ohlcv")["tombstones"] == {"1": "was in lots"}


def test_a_decision_without_an_entry_is_reported(cli: CommandLine) -> None:
    cli.json("schema", "rollback", "ohlcv")
    assert cli.json("schema", "status", "ohlcv")["not_logged"] == []
    with EmbeddedStore(cli.store) as store:
        store.decide("ohlcv", Decision(0, "promote", 1, "by hand", f"9:{'0' * 64}"))
    [found] = cli.json("schema", "status", "ohlcv")["not_logged"]
    assert (found["action"], found["reason"]) == ("promote", "by hand")
    assert (
        "promote, decided 1970-01-01, is not in the audit log" in cli.run("schema", "status", "ohlcv").stdout
    )


def test_a_check_shows_an_instance_that_the_new_schema_rejects(cli: CommandLine) -> None:
    file = changed(cli, {"volume": {"type": "number"}})
    reported = cli.json("schema", "check", "ohlcv", file, code=6)
    assert (reported["compatible"], reported["level"]) == (False, "BACKWARD")
    [comparison] = reported["comparisons"]
    [problem] = comparison["problems"]
    assert problem["path"] == "/properties/volume"
    old, new = (json.loads(path.read_text()) for path in (BUILTIN / "ohlcv.json", file))
    jsonschema.validate(problem["counterexample"], old)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(problem["counterexample"], new)
    result = cli.run("schema", "check", "ohlcv", file)
    assert "version 1 may write this, and the new schema rejects it" in result.stdout
    assert '"volume": null' in result.stdout


def test_a_check_that_finds_nothing_is_exit_0(cli: CommandLine) -> None:
    reported = cli.json("schema", "check", "ohlcv", changed(cli, {"vwap": {"type": "number"}}))
    assert reported["compatible"] is True
    assert cli.json("schema", "check", "trades")["compatible"] is True
    other = cli.folder / "other.json"
    other.write_text('{"type": "object"}')
    assert cli.json("schema", "check", "new.subject", other)["comparisons"] == []


def test_a_check_against_a_bundle_of_ones_own(cli: CommandLine) -> None:
    (cli.folder / "mine").mkdir()
    (cli.folder / "mine" / "tick.avsc").write_text(
        '{"type": "record", "name": "T", "fields": [{"name": "p", "type": "double"}]}'
    )
    new = cli.folder / "tick.avsc"
    new.write_text('{"type": "record", "name": "T", "fields": [{"name": "q", "type": "double"}]}')
    reported = cli.json("schema", "check", "tick", new, "--against", "mine", code=6)
    [problem] = reported["comparisons"][0]["problems"]
    assert problem["counterexample"] == {"p": pytest.approx(problem["counterexample"]["p"])}


def test_a_diff_stands_side_by_side(cli: CommandLine) -> None:
    file = changed(cli, {"volume": {"type": "number"}, "vwap": {"type": "number"}})
    reported = cli.json("schema", "diff", "ohlcv", "schemas/v1", file)
    assert {(one["path"], one["change"]) for one in reported["changes"]} == {
        ("/properties/volume/description", "removed"),
        ("/properties/volume/type", "changed"),
        ("/properties/volume/minimum", "removed"),
        ("/properties/volume/x-dtype", "removed"),
        ("/properties/vwap", "added"),
    }
    shown = cli.run("schema", "diff", "ohlcv", "schemas/v1", file).stdout
    [added] = [line for line in shown.splitlines() if '"vwap": {' in line]
    assert added[0] in "+~"
    [kept] = [line for line in shown.splitlines() if '"volume": {' in line]
    assert kept.count('"volume": {') == 2
    same = cli.run("schema", "diff", "ohlcv", "schemas/v1", "schemas/v1/ohlcv.json")
    assert "say the same" in same.stdout


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("register",), 2, "QMTL_SCHEMA_REGISTRY_URL"),
        (("compat", "ohlcv"), 2, "needs a registry"),
        (("show", "ohlcv"), 2, "needs a registry"),
        (("diff", "ohlcv", "1", "2"), 2, "needs a registry"),
        (("check", "bars"), 2, "it has ohlcv, trades"),
        (("check", "ohlcv", "missing.json"), 2, "cannot be read"),
        (("check", "ohlcv", "qmtl.yml"), 2, "is no schema"),
        (("check", "ohlcv", "--bundle", "missing"), 2, "nothing is there"),
        (("observe", "ohlcv", "missing.parquet"), 2, "cannot be read"),
        (("observe", "ohlcv", "qmtl.yml"), 2, "is no file of rows"),
        (("promote", "ohlcv", "--window", "soon"), 2, "is not a duration"),
        (("promote", "ohlcv", "--window", "0s"), 2, "longer than nothing"),
        (("audit", "verify"), 2, "there is no audit log"),
        (("status", "ohlcv"), 7, "there is no store yet"),
    ],
)
def test_what_cannot_be_done_is_reported(
    cli: CommandLine, words: tuple[str, ...], code: int, message: str
) -> None:
    result = cli.run("schema", *words)
    assert result.exit_code == code, result.output
    assert message in result.output
    assert "Traceback" not in result.output
