"""Write a year to a store with rows in QuestDB, read back, with coverage."""

from __future__ import annotations

from pathlib import Path

from benchmarks import scene
from benchmarks.figures import Comparison, Figure
from benchmarks.questdb import bare
from benchmarks.sizes import Sizes
from benchmarks.stopwatch import take_turns
from qmtl.runtime.sdk.stores import questdb_store


def run(sizes: Sizes, folder: Path) -> list[Figure]:
    """Each round writes one more series. The floor is QuestDB's client, and the wait until all is visible.

    That writes the same rows into a table with the same columns and the same key.
    """
    rounds = min(sizes.rounds, sizes.series)
    with bare() as peer, questdb_store(peer.server.url(folder / "store", "bars")) as store:
        peer.make(store._rows.table, "bare")
        frame = scene.year_of_bars(sizes.year)
        times = take_turns(
            rounds,
            {
                "floor": lambda number: peer.write("bare", scene.series_number(number).text, frame),
                "commit": lambda number: store.commit(scene.series_number(number), scene.write_of(frame)),
            },
        )
    beside = Comparison("ms", times["floor"], "QuestDB's client, until all is visible")
    goal = 1.6 * 1e3 * times["floor"].percentile(50)
    return [beside.figure("a year", times["commit"], goal=goal)]
