"""Sources of Python are within reach of a strategy, and what lies beside them is not."""

from __future__ import annotations

import sys
from pathlib import Path

import polars
import pytest

import qmtl
from qmtl import InvalidRequestError
from qmtl.runtime.sdk.isolation.reach import Reach, reach_of


def test_sources_are_read_and_bars_beside_them_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strategy = tmp_path / "desk/cross.py"
    for name in ("cross.py", "sizes.py", "lib/__init__.py", "lib/more/__init__.py", "lib/more/deep.py"):
        (tmp_path / "desk" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "desk" / name).touch()
    for name in ("bars/bars.sqlite", "A.csv", "lib/A.csv", "lib/data/A.py", "data/more.py"):
        (tmp_path / "desk" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "desk" / name).touch()
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/of_all.py").touch()
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "shared")])
    reach = reach_of(strategy)
    ours = {
        str(Path(path).relative_to(tmp_path)) for path in reach.readable if path.startswith(str(tmp_path))
    }
    assert ours == {
        *(f"desk/{name}" for name in ("cross.py", "sizes.py", "lib/__init__.py", "lib/more/__init__.py")),
        "desk/lib/more/deep.py",
        "shared/of_all.py",
    }
    assert {str(tmp_path / "desk"), str(tmp_path / "shared")} <= set(reach.listed)


def test_what_is_installed_is_within_reach(tmp_path: Path) -> None:
    (tmp_path / "cross.py").touch()
    readable = [Path(path).resolve() for path in reach_of(tmp_path / "cross.py").readable]
    for module in (polars, qmtl, pytest, sys.modules["json"]):
        assert any(Path(module.__file__ or "").resolve().is_relative_to(path) for path in readable), module


def test_a_store_within_reach_is_refused(tmp_path: Path) -> None:
    reach = Reach((str(tmp_path / "library"),), (str(tmp_path),))
    reach.check_apart(tmp_path / "bars")
    with pytest.raises(InvalidRequestError, match="which an isolated strategy has to read"):
        reach.check_apart(tmp_path / "library" / "bars")
