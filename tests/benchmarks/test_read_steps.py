"""The steps of a read are those that it takes: each is met, and everything is as before afterwards."""

from __future__ import annotations

from pathlib import Path

from benchmarks import read_steps, scene
from qmtl.runtime.io.sql import paged, pieces


def test_each_step_is_met_and_functions_are_put_back(tmp_path: Path) -> None:
    scene.fill_store(tmp_path, scene.year_of_bars(20_000))
    before = paged._read, pieces.chunks_of
    found = read_steps.measured(tmp_path, rounds=10)
    assert (paged._read, pieces.chunks_of) == before
    assert set(found) == {read_steps.WHOLE, *read_steps.STEPS, read_steps.REST}
    assert all(took > 0 for step, took in found.items() if step != read_steps.REST)
