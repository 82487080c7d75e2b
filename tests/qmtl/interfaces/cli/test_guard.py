"""Each kind of error has its exit code, its message and its JSON; a defect of ours is told as one."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from qmtl.foundation import errors
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import NaiveTimeWarning
from qmtl.interfaces.cli.guard import Command, exit_code, guarded
from qmtl.interfaces.cli.session import Session

HOLE = Span(0, 60_000_000_000)
CASES: list[tuple[BaseException, int, dict[str, Any]]] = [
    (errors.InvalidRequestError("x"), 2, {"kind": "InvalidRequestError"}),
    (errors.SettingsError("x"), 2, {"kind": "SettingsError"}),
    (
        errors.MissingDataError("x", holes={"unknown": Coverage.of(HOLE)}),
        3,
        {"holes": {"unknown": [["1970-01-01", "1970-01-01T00:01:00Z"]]}},
    ),
    (errors.ConformancePipelineError("x", report=None), 4, {"report": None}),
    (
        errors.SeamlessSLAExceeded("x", phase="total", ledger={"other": 1.0}, budget_s=1.0, elapsed_s=1.5),
        5,
        {"phase": "total", "budget_s": 1.0, "elapsed_s": 1.5, "ledger": {"other": 1.0}},
    ),
    (errors.SourceUnavailableError("x", source="binance"), 7, {"source": "binance"}),
    (errors.MissingDependencyError("ccxt", extra="ccxt"), 7, {"next_step": "pip install 'qmtl[ccxt]'"}),
    (errors.StoreError("x", path="/bars"), 7, {"store": "/bars"}),
    (errors.StoreCorruptError("x"), 7, {}),
    (errors.StoreLockedError("x"), 7, {}),
    (errors.LeaseError("x", lease_key="s/ohlcv:a:B:1m/7"), 7, {"lease_key": "s/ohlcv:a:B:1m/7"}),
    (
        errors.SchemaValidationError("x", subject="ohlcv", mode="strict", problems=["open is text"]),
        6,
        {"subject": "ohlcv", "mode": "strict", "problems": ["open is text"]},
    ),
    (errors.SchemaRegistryError("x", code=40401), 6, {"code": 40401}),
    (errors.IncompatibleSchemaError("x", comparisons=()), 6, {"code": 40901, "comparisons": []}),
    (errors.CoordinatorUnavailableError("x", url="http://c"), 7, {}),
    (errors.RegistryUnavailableError("x", url="http://r"), 7, {"code": 503}),
    (
        errors.PromotionRefusedError("x", subject="ohlcv", version=1, evidence={"failed": 2}),
        6,
        {"subject": "ohlcv", "version": 1, "evidence": {"failed": 2}},
    ),
    (
        errors.TombstonedError("x", subject="ohlcv", version=1, reason="lots"),
        6,
        {"subject": "ohlcv", "version": 1, "reason": "lots"},
    ),
    (errors.AuditLogError("x", path="log", problems=["a"]), 6, {"subject": None, "problems": ["a"]}),
    (KeyError("x"), 1, {"kind": "KeyError"}),
]


def app_of(command: Command) -> typer.Typer:
    app = typer.Typer()

    @app.callback()
    def options(ctx: typer.Context, as_json: bool = False, verbose: bool = False) -> None:
        ctx.obj = Session(Path("qmtl.yml"), None, as_json, verbose)

    app.command("act")(guarded(command))
    return app


def raising(error: BaseException) -> typer.Typer:
    def act(ctx: typer.Context) -> None:
        raise error

    return app_of(act)


@pytest.mark.parametrize(("error", "code", "facts"), CASES, ids=lambda value: type(value).__name__)
def test_an_error_ends_with_its_code_its_message_and_its_facts(
    error: BaseException, code: int, facts: dict[str, Any]
) -> None:
    result = CliRunner().invoke(raising(error), ["--as-json", "act"])
    assert result.exit_code == code
    assert "Traceback" not in result.output
    reported = json.loads(result.stdout)["error"]
    assert reported["exit_code"] == code
    assert reported | facts == reported


def test_every_error_of_ours_has_a_code_of_its_own() -> None:
    tree = [errors.QmtlError]
    for kind in tree:
        tree += kind.__subclasses__()
    unlisted = [kind.__name__ for kind in tree[1:] if exit_code(kind.__new__(kind)) == 1]
    assert unlisted == []


def test_the_message_says_what_where_why_and_what_next() -> None:
    error = errors.InvalidRequestError(
        "it is odd", series=SeriesId.parse("ohlcv:a:b:1m"), span=HOLE, why="because", next_step="do that"
    )
    result = CliRunner().invoke(raising(error), ["act"])
    assert result.stdout == ""
    for part in ("error: it is odd", "ohlcv:a:b:1m", "1970-01-01T00:01:00Z", "because", "do that"):
        assert part in result.stderr


def test_a_defect_is_one_line_and_with_v_a_traceback() -> None:
    app = raising(ZeroDivisionError("a\nb"))
    short = CliRunner().invoke(app, ["act"])
    assert short.exit_code == 1
    assert short.stderr.count("\n") == 1
    assert "defect of qmtl" in short.stderr
    assert "-v" in short.stderr
    long = CliRunner().invoke(app, ["--verbose", "act"])
    assert "Traceback" in long.stderr
    assert "report" in long.stderr


def test_an_interrupt_says_that_the_next_run_resumes() -> None:
    result = CliRunner().invoke(raising(KeyboardInterrupt()), ["act"])
    assert result.exit_code == 130
    assert "resumes" in result.stderr


def test_warnings_of_ours_are_notes_and_those_of_others_are_kept_back() -> None:
    import warnings

    def act(ctx: typer.Context) -> None:
        warnings.warn("read as UTC", NaiveTimeWarning, stacklevel=1)
        warnings.warn("a library is unhappy", UserWarning, stacklevel=1)

    result = CliRunner().invoke(app_of(act), ["act"])
    assert result.exit_code == 0
    assert result.stderr == "note: read as UTC\n"


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EROFS, "Read-only file system", "/bars/x.csv"),
        OSError("No space left on device (os error 28)"),
    ],
)
def test_a_disk_that_is_full_is_no_defect(error: OSError) -> None:
    result = CliRunner().invoke(raising(error), ["act"])
    assert result.exit_code == 7
    assert "cannot be written" in result.stderr
    assert "next:" in result.stderr
    assert "defect" not in result.stderr


@pytest.mark.parametrize(
    ("words", "redirection", "code", "says"),
    [
        ("--json calendars XNYS", ">/dev/full", 7, "No space left"),
        ("calendars XNYS", ">/dev/full", 7, "No space left"),
        ("calendars XNYS", ">&-", 7, "standard output is closed"),
    ],
)
def test_an_output_that_cannot_be_written_is_one_message(
    words: str, redirection: str, code: int, says: str
) -> None:
    qmtl = Path(sys.executable).with_name("qmtl")
    done = subprocess.run(
        f"{qmtl} {words} {redirection}", shell=True, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    assert done.stderr.count("error:") == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr
