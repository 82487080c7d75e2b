"""A command line with a store of its own, run within this process, and a vendor that follows a script."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from qmtl.interfaces.cli.main import app
from qmtl.runtime.testing import ScriptedVendor


@dataclass
class CommandLine:
    """`run(...)` is `qmtl --store ... COMMAND ...`, with the settings of `config`."""

    folder: Path

    @property
    def store(self) -> Path:
        return self.folder / "bars"

    @property
    def config(self) -> Path:
        return self.folder / "qmtl.yml"

    def run(self, *words: object, before: tuple[str, ...] = ()) -> Result:
        options = ("--config", str(self.config), "--store", str(self.store), *before)
        return CliRunner().invoke(app, [*options, *map(str, words)])

    def json(self, *words: object, code: int = 0) -> Any:
        """What a machine reads: stdout must be one JSON document, and nothing beside it."""
        result = self.run(*words, before=("--json",))
        assert result.exit_code == code, result.output
        return json.loads(result.stdout)


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    monkeypatch.chdir(tmp_path)
    line = CommandLine(tmp_path)
    line.config.write_text("seamless: {}\n")
    return line


@pytest.fixture
def vendor(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ScriptedVendor]:
    """`vendor(...)` serves every series with a scripted vendor from then on."""
    from qmtl.runtime.sdk import from_settings

    def serve(*args: Any, **options: Any) -> ScriptedVendor:
        made = ScriptedVendor(*args, **options)
        monkeypatch.setattr(from_settings, "vendor", lambda _: made)
        cli.config.write_text(
            "seamless:\n  vendors:\n    - {match: '*', kind: files, path: 'unused/{symbol}.csv'}\n"
        )
        return made

    return serve


@contextmanager
def served_registry(folder: Path, *options: object) -> Iterator[str]:
    """The address of `qmtl serve registry`, a process of its own, on a store in `folder`."""
    process = subprocess.Popen(
        [
            Path(sys.executable).with_name("qmtl"),
            *("serve", "registry", "--port", "0", "--store", folder / "registry"),
            *map(str, options),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found
        yield found[0]
    finally:
        process.terminate()
        process.wait(60)
        process.stdout.close()
