"""No output of a command replaces a store, a database, the settings or what the command reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from qmtl.foundation.errors import InvalidRequestError
from qmtl.interfaces.cli.bar_output import replacing
from qmtl.interfaces.cli.outputs import check_no_store
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore

if TYPE_CHECKING:
    from tests.qmtl.command_line import CommandLine

SERIES = "ohlcv:mine:GOLD:1d"
FETCH = ("fetch", SERIES, "2024-01-02", "2024-01-03", "--partial-ok")
EXPORT = ("export", SERIES)
DIFF = ("diff", SERIES, "2024-01-01", "2024-01-02")
ROW = "ts,open,high,low,close,volume\n2024-01-02,2,3,1,2,10\n"


@pytest.fixture
def filled(cli: CommandLine) -> CommandLine:
    Path("import.csv").write_text(ROW)
    assert cli.run("import", "import.csv", "--series", SERIES).exit_code == 0
    return cli


def contents(folder: Path) -> dict[Path, bytes]:
    # The index of the log is made anew by whoever opens the store.
    files = (file for file in folder.rglob("*") if file.is_file() and not file.name.endswith("-shm"))
    return {file: file.read_bytes() for file in files}


@pytest.mark.parametrize("name", ["bars.sqlite", "bars.sqlite-wal", "bars.lock", "claims/x.json"])
def test_a_receipt_replaces_no_file_of_the_store(filled: CommandLine, name: str) -> None:
    (filled.store / "claims").mkdir(exist_ok=True)
    before = contents(filled.folder)
    result = filled.run(*FETCH, "--receipt", filled.store / name)
    assert result.exit_code == 2, result.output
    assert f"{Path(name).name} is not replaced" in result.stderr
    assert contents(filled.folder) == before
    assert filled.run("store", "verify").exit_code == 0


def test_a_store_of_another_name_or_behind_a_link_is_known_by_its_bytes(filled: CommandLine) -> None:
    copy = filled.folder / "copy.json"
    copy.write_bytes((filled.store / "bars.sqlite").read_bytes())
    link = filled.folder / "link.json"
    link.symlink_to(copy)
    before = contents(filled.folder)
    for words in ((*FETCH, "--receipt"), (*FETCH, "-o"), (*EXPORT, "-o"), (*DIFF, "-o")):
        for path in (copy, link):
            result = filled.run(*words, path)
            assert result.exit_code == 2, result.output
            assert "it is a database" in result.stderr
    assert link.is_symlink()
    assert contents(filled.folder) == before


def test_settings_and_budgets_stay(filled: CommandLine) -> None:
    sla = filled.folder / "sla.json"
    sla.write_text('{"total": "90s"}')
    settings = filled.folder / "settings.json"
    settings.write_text("{}")
    filled.config.write_text("seamless: {}\n")
    for words, says in (
        ((*FETCH, "--receipt", filled.config), "the settings are read from it"),
        ((*FETCH, "--sla", sla, "--receipt", sla), "--receipt and --sla name the same file"),
        ((*FETCH, "--sla", sla, "-o", sla), "--output and --sla name the same file"),
        ((*FETCH, "-o", "one.json", "--receipt", "./one.json"), "--output and --receipt name the same file"),
    ):
        before = contents(filled.folder)
        result = filled.run(*words)
        assert result.exit_code == 2, result.output
        assert says in result.stderr
        assert contents(filled.folder) == before


def test_bars_that_a_vendor_reads_stay(filled: CommandLine) -> None:
    filled.config.write_text(
        "seamless:\n  vendors:\n    - {match: '*', kind: files, path: 'data/{symbol}-{timeframe}.csv'}\n"
    )
    source = filled.folder / "data" / "GOLD-1d.csv"
    source.parent.mkdir()
    source.write_text(ROW)
    for words in (FETCH, EXPORT):
        result = filled.run(*words, "-o", source)
        assert result.exit_code == 2, result.output
        assert "a vendor reads bars from it" in result.stderr
        assert source.read_text() == ROW
        assert filled.run(*words, "-o", source.with_name("out.csv")).exit_code == 0


def test_a_vendor_that_cannot_be_used_does_not_keep_an_export_from_its_file(filled: CommandLine) -> None:
    filled.config.write_text(
        "seamless:\n  vendors:\n    - {match: 'x', kind: files, path: '{sym}.csv'}\n"
        "    - {match: '*', kind: files, path: 'in.csv'}\n"
    )
    assert filled.run(*EXPORT, "-o", "out.csv").exit_code == 0
    assert filled.run(*EXPORT, "-o", "in.csv").exit_code == 2, "the vendor beside it can be used"


def test_an_export_without_one_end_never_says_that_it_was_given(filled: CommandLine) -> None:
    for words, says in (
        (("2030-01-01",), "START 2030-01-01 comes after all bars that are stored"),
        (("2030-01-01", "2029-01-01"), "START 2030-01-01 comes after END 2029-01-01"),
    ):
        result = filled.run(*EXPORT, *words, "-o", "out.csv")
        assert result.exit_code == 2, result.output
        assert says in result.stderr
        assert ("exchange" in result.stderr) is (len(words) == 2)


def test_what_is_no_file_stays(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="null is not replaced") as caught:
        check_no_store(Path("/dev/null"))
    assert caught.value.why == "it is no regular file"


def test_a_store_that_was_made_meanwhile_stays(tmp_path: Path) -> None:
    path = tmp_path / "bars.sqlite"
    check_no_store(tmp_path / "bars.json")
    with EmbeddedStore(tmp_path):
        pass
    before = path.read_bytes()
    path.rename(tmp_path / "bars.json")
    with pytest.raises(InvalidRequestError), replacing(tmp_path / "bars.json") as file:
        file.write(b"{}")
    assert (tmp_path / "bars.json").read_bytes() == before


def test_an_earlier_output_is_replaced(filled: CommandLine) -> None:
    for _ in range(2):
        assert filled.run(*FETCH, "--receipt", "receipt.json", "-o", "out.csv").exit_code == 0
    assert json.loads(Path("receipt.json").read_text())["series"] == SERIES
