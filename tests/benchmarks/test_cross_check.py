"""Strategies trade here as they do in backtrader, to the cent; what it gave is recorded."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from benchmarks.cross_check import ours
from benchmarks.cross_check.__main__ import RECORDED, main
from benchmarks.cross_check.comparison import differences, shortfalls

PAGE = Path(__file__).parents[2] / "docs" / "en" / "reference" / "cross_check.md"


@pytest.fixture(scope="module")
def recorded() -> dict[str, Any]:
    whole: dict[str, Any] = json.loads(RECORDED.read_text(encoding="utf-8"))
    return whole


@pytest.mark.parametrize("symbol", ours.SYMBOLS)
@pytest.mark.parametrize("case", ["hold", "cross"])
def test_the_same_trades_and_equity(symbol: str, case: str, recorded: dict[str, Any], tmp_path: Path) -> None:
    ours.write_bars(tmp_path, symbol)
    mine, theirs = ours.run(tmp_path, symbol, case), recorded[f"{symbol} {case}"]
    assert len(theirs["fills"]) == (1 if case == "hold" else len(mine["fills"]))
    assert len(theirs["equity"]) == 95, "the ends of months"
    assert differences(mine, theirs) == []
    # The comparison would see a cent, a unit and a day.
    for place, changed in (
        (0, [["2005-05-28", *theirs["fills"][0][1:]], *theirs["fills"][1:]]),
        (1, theirs["fills"][1:]),
    ):
        assert differences(mine, {**theirs, "fills": changed}), place
    assert differences(mine, {**theirs, "equity": [[day, value + 0.01] for day, value in theirs["equity"]]})


@pytest.mark.parametrize("symbol", ours.SYMBOLS)
def test_what_differs_is_explained(symbol: str, recorded: dict[str, Any], tmp_path: Path) -> None:
    bars = ours.write_bars(tmp_path, symbol)
    mine, theirs = ours.run(tmp_path, symbol, "all in"), recorded[f"{symbol} all in"]
    assert theirs["fills"] == []
    assert all(0 < short < 100.0 for short in shortfalls(theirs, bars)), "less than the fee"
    bought = [fill for fill in mine["fills"] if fill[1] > 0]
    assert len(bought) == len(theirs["refused"]), "here each of them is filled, as far as the cash goes"
    assert mine["cut"]


def test_the_page_shows_what_was_recorded(recorded: dict[str, Any]) -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert f"backtrader {recorded['version']}" in page
    for name, run in recorded.items():
        if name != "version" and run["fills"]:
            symbol, case = name.split(" ", 1)
            assert f"| {symbol} | {case} | {len(run['fills'])} | 0 | {run['equity'][-1][1]:,.2f} |" in page


def test_a_soak_of_the_cross_check(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against backtrader itself."""
    if not (peer := os.environ.get("QMTL_TEST_BACKTRADER")):
        pytest.skip("QMTL_TEST_BACKTRADER names an interpreter that has backtrader: make cross-check")
    monkeypatch.setattr("sys.argv", ["cross_check", "--peer", peer])
    assert main() == 0, capsys.readouterr().err
