"""One ladder after the other: each store is made, measured, and removed."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks import scene
from benchmarks.growth.ladders import Ladder
from benchmarks.growth.measuring import Costs, measured


class Rung(NamedTuple):
    """size: how much there was of what the ladder is about. stored: bytes of the store. built: seconds."""

    size: int
    stored: int
    built: float
    costs: Costs


def climb(ladder: Ladder, sizes: tuple[int, ...], folder: Path, rounds: int) -> Iterator[Rung]:
    """The rungs, smallest first; the folder needs room for the largest store."""
    for size in sizes:
        home = folder / f"{size}"
        began = time.perf_counter()
        holding = ladder.build(home, size)
        built = time.perf_counter() - began
        try:
            yield Rung(size, scene.folder_bytes(home), built, measured(home, holding, rounds))
        finally:
            shutil.rmtree(home)
