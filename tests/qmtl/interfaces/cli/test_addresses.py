"""No option of any command takes an address for a file or a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from qmtl.interfaces.cli.main import app

if TYPE_CHECKING:
    from tests.qmtl.command_line import CommandLine

SERIES = "ohlcv:mine:GOLD:1d"
FETCH = ("fetch", SERIES, "2024-01-02", "2024-01-06")
IMPORT = ("import", "bars.csv", "--series", SERIES)


@pytest.mark.parametrize(
    "words",
    [
        (*FETCH, "-o", "s3://bucket/out.parquet"),
        (*FETCH, "--receipt", "s3://bucket/receipt.json"),
        (*FETCH, "--sla", "s3://bucket/sla.yml"),
        ("export", SERIES, "-o", "s3://bucket/out.csv"),
        ("diff", SERIES, "2024-01-01", "2024-01-02", "-o", "s3://bucket/out.csv"),
        ("import", "s3://bucket/bars.csv", "--series", SERIES),
        ("serve", "registry", "--store", "s3://bucket/schemas", "--host", "nowhere.invalid"),
        ("schema", "check", "--subject", "bars", "s3://bucket/schema.json"),
    ],
)
def test_files_of_commands(cli: CommandLine, words: tuple[str, ...]) -> None:
    before = sorted(path.name for path in cli.folder.iterdir())
    result = cli.run(*words)
    assert result.exit_code == 2, result.output
    if words[0] != "schema":  # its arguments are read first, and may be refused for another reason
        assert "s3://bucket" in result.stderr
        assert "is not served" in result.stderr
        assert "mkdir" not in result.stderr
    assert sorted(path.name for path in cli.folder.iterdir()) == before


@pytest.mark.parametrize("words", [FETCH, IMPORT, ("store", "info"), ("doctor",)])
@pytest.mark.parametrize("how", ["--store", "--config", "QMTL_SEAMLESS_STORE"])
def test_stores_and_settings(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch, how: str, words: tuple[str, ...]
) -> None:
    Path("bars.csv").write_text("ts,open,high,low,close,volume\n2024-01-02,2,3,1,2,10\n")
    before = sorted(path.name for path in cli.folder.iterdir())
    if how.startswith("--"):
        result = CliRunner().invoke(app, [how, "kdb://host:9000/x", *words])
    else:
        monkeypatch.setenv(how, "kdb://host:9000/x")
        result = CliRunner().invoke(app, list(words))
    assert result.exit_code in (2, 7), result.output
    assert "kdb://host:9000/x is not served" in " ".join(result.output.split())
    assert sorted(path.name for path in cli.folder.iterdir()) == before


@pytest.mark.parametrize("address", ["postgresql://u:p@[x/bars", "postgresql://h/bars?schem"])
def test_an_import_to_an_address_that_is_none_does_not_look_at_its_file(
    cli: CommandLine, address: str
) -> None:
    Path("bars.csv").write_text("ts,open,high,low,close,volume\n2024-01-02,2,3,1,2,10\n")
    result = CliRunner().invoke(app, ["--store", address, *IMPORT])
    assert result.exit_code == 2, result.output
    assert "the address of the store cannot be used" in result.output
    assert "a look at" not in result.output
