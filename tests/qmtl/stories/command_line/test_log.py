"""With --log json, each line of stderr is a JSON object, whatever the command and however it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from qmtl.runtime.testing import ScriptedVendor

if TYPE_CHECKING:
    from tests.qmtl.command_line import CommandLine

SERIES = "ohlcv:mine:GOLD:1d"
DAYS = (SERIES, "2024-01-02", "2024-01-06")
CSV = "ts,open,high,low,close,volume\n" + "".join(f"2024-01-{day:02},2,3,1,2,10\n" for day in (2, 3, 4, 5))

# Commands of all kinds, in an order in which each has what it needs; some end well, some do not.
CALLS: tuple[tuple[str, ...], ...] = (
    ("import", "bars.csv", "--series", SERIES),
    ("import", "nowhere.csv", "--series", SERIES),
    ("fetch", *DAYS),
    ("coverage", *DAYS),
    ("backfill", SERIES, "2024-01-02", "2024-01-09"),
    ("refresh", *DAYS),
    ("commits", SERIES),
    ("export", SERIES, "-o", "out.csv"),
    ("export", SERIES, "-o", "out.txt"),
    ("diff", SERIES, "2024-01-01", "2024-01-02"),
    ("calendars", "XTKS"),
    ("calendars", "atlantis"),
    ("doctor", "atlantis"),
    ("reports", "list"),
    ("reports", "show", SERIES),
    ("reports", "accept", SERIES),
    ("reports", "rules"),
    ("store", "info"),
    ("store", "verify"),
    ("store", "compact"),
    ("store", "declare", SERIES, "--calendar", "XXXX"),
    ("store", "pin", "x"),
    ("store", "pins"),
    ("store", "unpin", "x"),
    ("store", "unpin", "x"),
    ("retract", *DAYS, "--reason", "a test"),
    ("schema", "status", "bars"),
    ("schema", "audit", "verify"),
)


def lines_of(stderr: str) -> list[dict[str, Any]]:
    """Each line as JSON, or a failure."""
    lines = [json.loads(line) for line in stderr.splitlines()]
    assert all({"time", "level", "logger"} <= set(line) for line in lines)
    return lines


@pytest.mark.parametrize("json_too", [(), ("--json",)])
def test_the_log_of_many_commands_is_json(
    cli: CommandLine, vendor: Callable[..., ScriptedVendor], json_too: tuple[str, ...]
) -> None:
    vendor()
    (cli.folder / "bars.csv").write_text(CSV)
    codes = set()
    for words in CALLS:
        result = cli.run(*words, before=("--log", "json", *json_too))
        assert "Usage:" not in result.stderr, words
        codes.add(result.exit_code)
        lines = lines_of(result.stderr)
        if result.exit_code and words[0] != "doctor":
            assert [line["event"] for line in lines if line["level"] == "error"] == ["cli.error"], words
        if json_too and result.stdout:
            json.loads(result.stdout)
    assert {0, 2, 7} <= codes
    assert 1 not in codes


def test_events_of_a_fetch_are_there_without_v(
    cli: CommandLine, vendor: Callable[..., ScriptedVendor]
) -> None:
    vendor()
    result = cli.run("fetch", *DAYS, before=("--log", "json"))
    lines = lines_of(result.stderr)
    committed = [line for line in lines if line.get("event") == "backfill.committed"]
    assert [line["node_id"] for line in committed] == [SERIES]
    assert committed[0]["level"] == "info"
    assert "seamless.backfill" in {line["logger"] for line in lines}
    assert SERIES in result.stdout, "people still read stdout"


def test_an_error_is_an_object_with_its_facts(cli: CommandLine) -> None:
    result = cli.run("fetch", SERIES, "2024-01-06", "2024-01-02", before=("--log", "json"))
    assert result.exit_code == 2
    (line,) = lines_of(result.stderr)
    assert (line["level"], line["event"]) == ("error", "cli.error")
    assert line["error"]["exit_code"] == 2
    assert line["error"]["series"] == SERIES
    assert "exchange them" in line["error"]["next_step"]
    assert "exception" not in line
    (verbose,) = [
        line
        for line in lines_of(
            cli.run("fetch", SERIES, "2024-01-06", "2024-01-02", before=("-v", "--log", "json")).stderr
        )
        if line["level"] == "error"
    ]
    assert "Traceback" in verbose["exception"]


def test_a_note_is_an_object(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QMTL_SEAMLESS_STOER", "x")
    with warnings.catch_warnings():
        result = cli.run("reports", "list", before=("--log", "json"))
    notes = [line["text"] for line in lines_of(result.stderr) if line.get("event") == "cli.note"]
    assert any("QMTL_SEAMLESS_STOER" in note for note in notes)


def test_a_defect_carries_its_traceback(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore

    (cli.folder / "bars.csv").write_text(CSV)
    assert cli.run("import", "bars.csv", "--series", SERIES).exit_code == 0
    monkeypatch.setattr(EmbeddedStore, "info", lambda self: 1 / 0)
    result = cli.run("store", "info", before=("--log", "json"))
    assert result.exit_code == 1
    (line,) = lines_of(result.stderr)
    assert line["error"]["kind"] == "ZeroDivisionError"
    assert "Traceback" in line["exception"]


def test_a_service_logs_json_too(cli: CommandLine) -> None:
    code = "from qmtl.interfaces.cli.main import run; run()"
    with subprocess.Popen(
        [
            sys.executable,
            "-c",
            code,
            "--log",
            "json",
            "serve",
            "registry",
            "--store",
            "schemas",
            "--port",
            "0",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cli.folder,
        env=dict(os.environ),
    ) as server:
        assert server.stdout is not None
        assert "the registry serves http://127.0.0.1:" in server.stdout.readline()
        server.send_signal(signal.SIGTERM)
        _, stderr = server.communicate(timeout=60)
    assert server.returncode == 0
    lines_of(stderr)


def test_another_kind_of_log_is_refused(cli: CommandLine) -> None:
    result = cli.run("store", "info", before=("--log", "xml"))
    assert result.exit_code == 2
    assert "text" in result.stderr
    assert "json" in result.stderr
