"""Presets come with this package, from others, from a folder and from a world; never two of one name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.series import SeriesId
from qmtl.runtime.worlds import catalog as module
from qmtl.runtime.worlds.catalog import SHIPPED, catalog, read_preset

DEFINITION = {"preset": "desk.1m", "series": "ohlcv:desk:{symbol}:1m", "meaning": "of the desk"}


def test_what_is_shipped() -> None:
    known = catalog()
    assert {
        "ohlcv.binance.spot.1m",
        "ohlcv.binance.spot.1h",
        "ohlcv.kraken.spot.1m",
        "ohlcv.files",
        "ohlcv.polygon.us_equity.1d",
    } <= {*known.names}
    for name in known.names:
        preset = known.get(name)
        assert preset.definition.preset == name
        assert preset.definition.meaning
        assert preset.definition.vendor is not None
        series = preset.definition.series_of("BTC/USDT", "1d")
        assert isinstance(series, SeriesId)
    for path in SHIPPED.glob("*.yml"):
        assert read_preset(path).definition.preset == path.stem


def test_a_name_that_is_not_known_gets_the_nearest() -> None:
    with pytest.raises(InvalidRequestError) as refused:
        catalog().get("ohlcv.krakn.spot.1m")
    assert refused.value.next_step == "did you mean 'ohlcv.kraken.spot.1m'?"
    with pytest.raises(InvalidRequestError) as refused:
        catalog().get("zzz")
    assert "there are ohlcv.binance.spot.1h, " in (refused.value.next_step or "")


class Point:
    """An entry point of a package."""

    dist = None

    def __init__(self, name: str, gives: Any) -> None:
        self.name, self.value, self.gives = name, f"desk:{name}", gives
        self.loaded = 0

    def load(self) -> Any:
        self.loaded += 1
        if isinstance(self.gives, Exception):
            raise self.gives
        return self.gives


@pytest.fixture
def points(monkeypatch: pytest.MonkeyPatch) -> list[Point]:
    found: list[Point] = []
    monkeypatch.setattr(module, "entry_points", lambda group: found if group == "qmtl.presets" else [])
    return found


def test_an_entry_point_is_loaded_for_its_own_preset_alone(points: list[Point], tmp_path: Path) -> None:
    file = tmp_path / "hours.yml"
    file.write_text('preset: desk.1h\nseries: "ohlcv:desk:{symbol}:1h"\n')
    mapping, path, broken = Point("desk.1m", DEFINITION), Point("desk.1h", file), Point("x", OSError("gone"))
    points += [mapping, path, broken]
    known = catalog()
    assert known.origin("desk.1m") == "the package a package"
    assert known.get("desk.1m").definition.meaning == "of the desk"
    assert (path.loaded, broken.loaded) == (0, 0)
    assert known.get("desk.1h").folder == tmp_path, "where its relative paths start"
    with pytest.raises(InvalidRequestError, match=r"entry point x .* cannot be loaded") as refused:
        known.get("x")
    assert refused.value.why == "OSError: gone"


@pytest.mark.parametrize(
    ("gives", "says"),
    [
        (5, "is a int"),
        ({**DEFINITION, "preset": "desk.5m"}, "defines the preset 'desk.5m'"),
        ({**DEFINITION, "serie": "x"}, "the key 'serie' is not known"),
    ],
)
def test_what_an_entry_point_may_not_give(points: list[Point], gives: Any, says: str) -> None:
    points.append(Point("desk.1m", gives))
    with pytest.raises(InvalidRequestError) as refused:
        catalog().get("desk.1m")
    assert says in str(refused.value)
    assert "entry point desk.1m" in str(refused.value)


def test_two_presets_of_one_name_are_refused(points: list[Point]) -> None:
    points.append(Point("ohlcv.files", DEFINITION))
    with pytest.raises(InvalidRequestError) as refused:
        catalog()
    assert refused.value.what == "there are two presets 'ohlcv.files'"
    assert refused.value.why == "one is of qmtl, one of the package a package"
