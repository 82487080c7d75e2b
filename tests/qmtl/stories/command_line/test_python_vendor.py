"""A vendor of one's own in qmtl.yml: it serves, and one that is broken stops only what needs it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.qmtl.command_line import CommandLine

DAY = ("2024-01-01", "2024-01-02")
MODULE = """
from qmtl.runtime.testing import ScriptedVendor

def make(seed):
    return ScriptedVendor(seed=seed)
"""


@pytest.fixture
def line(cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "desk_of_the_cli", raising=False)
    (tmp_path / "desk_of_the_cli.py").write_text(MODULE)
    cli.config.write_text(
        "seamless:\n  vendors:\n"
        "    - {match: 'ohlcv:mine:*', kind: python, object: 'desk_of_the_cli:make', options: {seed: 3}}\n"
        "    - {match: 'ohlcv:bad:*', kind: python, object: 'desk_of_the_cli:mke'}\n"
        "    - {match: 'ohlcv:odd:*', kind: python, object: 'desk_of_the_cli:make', options: {sed: 3}}\n"
    )
    return cli


def test_it_serves_a_fetch(line: CommandLine) -> None:
    reported = line.json("fetch", "ohlcv:mine:A:1h", *DAY)
    assert reported["receipt"]["bars"]["present"] == 24
    assert reported["receipt"]["served"][0]["source"] == "python:desk_of_the_cli:make"


def test_a_broken_one_stops_only_what_needs_it(line: CommandLine) -> None:
    result = line.run("fetch", "ohlcv:bad:A:1h", *DAY)
    assert result.exit_code == 2, result.output
    assert "qmtl.yml:4:44: 'seamless.vendors[1].object'" in result.stderr
    assert "has no 'mke'" in result.stderr
    result = line.run("fetch", "ohlcv:odd:A:1h", *DAY)
    assert (result.exit_code, "qmtl.yml:5:76: 'seamless.vendors[2].options'" in result.stderr) == (
        2,
        True,
    ), result.output
    assert line.run("fetch", "ohlcv:mine:A:1h", *DAY).exit_code == 0


def test_doctor_tries_each(line: CommandLine) -> None:
    checks = {check["subject"]: check for check in line.json("doctor", code=7)}
    assert checks["vendor ohlcv:mine:*"]["outcome"] == "ok"
    assert "desk_of_the_cli:make" in checks["vendor ohlcv:mine:*"]["detail"]
    assert checks["vendor ohlcv:bad:*"]["outcome"] == "fail"
    assert "has no 'mke'" in checks["vendor ohlcv:bad:*"]["detail"]


@pytest.mark.parametrize(
    ("entry", "fact"),
    [
        ("{match: a, kind: python}", "needs 'object'"),
        ("{match: a, kind: python, object: 'a:b', option: {}}", "did you mean 'options'?"),
        ("{match: a, kind: python, object: 'a:b', options: [1]}", "options"),
    ],
)
def test_a_slip_in_the_entry_is_exit_2(cli: CommandLine, entry: str, fact: str) -> None:
    cli.config.write_text(f"seamless:\n  vendors:\n    - {entry}\n")
    result = cli.run("coverage", "ohlcv:mine:A:1h", *DAY)
    assert (result.exit_code, fact in result.stderr) == (2, True), result.output
