"""What a newcomer sees first, and how quickly."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest
from typer.testing import CliRunner

import qmtl
from qmtl.interfaces.cli.main import COMMANDS, FAMILIES, app

NAMES = {
    "": [
        "backfill",
        "calendars",
        "commits",
        "coordinator",
        "coverage",
        "demo",
        "diff",
        "doctor",
        "export",
        "fetch",
        "import",
        "jobs",
        "leases",
        "presets",
        "refresh",
        "replay",
        "reports",
        "retract",
        "revalidate",
        "schema",
        "serve",
        "snapshot",
        "store",
        "submit",
        "worker",
        "world",
    ],
    "presets": ["list", "show"],
    "snapshot": ["gc", "list", "verify"],
    "replay": ["verify"],
    "reports": ["accept", "list", "rules", "show"],
    "schema": [
        "audit",
        "check",
        "compat",
        "diff",
        "observe",
        "promote",
        "register",
        "rollback",
        "show",
        "status",
        "tombstone",
    ],
    "schema audit": ["append", "repair", "show", "verify"],
    "serve": ["coordinator", "registry"],
    "coordinator": ["add", "members", "remove", "restore", "snapshot"],
    "store": [
        *("backup", "compact", "copy", "declare", "grant", "info", "migrate", "pin", "pins", "restore"),
        *("unpin", "verify"),
    ],
    "world": ["apply", "list", "plan", "schema", "show", "validate"],
}


@pytest.mark.parametrize("family", NAMES)
def test_the_names_of_the_commands(family: str) -> None:
    result = CliRunner().invoke(app, [*family.split(), "--help"])
    assert result.exit_code == 0
    listed = result.stdout.partition("Commands:\n")[2].partition("\n\n")[0]
    assert sorted(re.findall(r"^  (\w+)  ", listed, re.MULTILINE)) == NAMES[family]
    assert "..." not in listed, "a meaning is cut short"


ALL = [[name] for name in COMMANDS] + [
    [*family.split(), name] for family, (_, commands) in FAMILIES.items() for name in commands
]


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_every_command_has_help(words: list[str]) -> None:
    result = CliRunner().invoke(app, [*words, "--help"])
    assert result.exit_code == 0
    assert result.stdout.startswith("Usage: ")


def test_the_version() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout == f"qmtl {qmtl.__version__}\n"


def test_help_loads_nothing_heavy() -> None:
    heavy = [
        "polars",
        "numpy",
        "rich",
        "pydantic",
        "yaml",
        "pyarrow",
        "pandas",
        "asyncio",
        "prometheus_client",
    ]
    code = (
        "import json, sys\n"
        "sys.argv = ['qmtl', '--help']\n"
        "from qmtl.interfaces.cli.main import run\n"
        "try:\n    run()\n"
        "except SystemExit as ended:\n    assert not ended.code\n"
        f"print(json.dumps([name for name in {heavy} if name in sys.modules]), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Usage: ")
    assert json.loads(done.stderr) == []


def test_a_wrong_name_is_bad_input_and_the_nearest_is_named() -> None:
    result = CliRunner().invoke(app, ["fetsch"])
    assert result.exit_code == 2
    assert "Did you mean 'fetch'?" in result.stderr


@pytest.mark.parametrize(("given", "then"), [(None, "1"), ("3", "3")])
def test_a_command_starts_no_threads_for_matrices_unless_it_is_told_to(given: str | None, then: str) -> None:
    code = (
        "import os, sys\n"
        "sys.argv = ['qmtl', '--version']\n"
        "from qmtl.interfaces.cli.main import run\n"
        "assert 'numpy' not in sys.modules, 'it would have started them'\n"
        "try:\n    run()\n"
        "except SystemExit as ended:\n    assert not ended.code\n"
        "print(os.environ['OPENBLAS_NUM_THREADS'])\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    if given is not None:
        environment["OPENBLAS_NUM_THREADS"] = given
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.splitlines()[-1] == then
