"""Fetch a stored year of minute bars, checked, with receipt."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import scene
from benchmarks.arctic import opened
from benchmarks.arctic_environment import is_installed
from benchmarks.figures import ARCTIC, DUCKDB, PARQUET, Comparison, Figure
from benchmarks.peers import Duck, read_parquet, write_parquet
from benchmarks.sizes import Sizes
from benchmarks.stopwatch import Contestant, take_turns_apart
from qmtl.foundation.timeline import Span
from qmtl.runtime.conformance.context_window import CONTEXT
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.sdk.provider import SeamlessDataProvider

_PEERS = (DUCKDB, PARQUET, ARCTIC)
# So many answers are made room for in a process of ArcticDB, as `take_turns_apart` does for the others.
_ROOM = 16


def run(sizes: Sizes, folder: Path) -> list[Figure]:
    """The whole fetch, the part of it that is the store, and the fetch with everything read that is lazy.

    Each with answers that are let go at once, and with answers that are kept, as people keep them: then each
    has to get 25 MB from the system. Every contestant has a process of its own, for that depends on what a
    process has freed before.
    """
    frame, span = scene.year_of_bars(sizes.year), scene.span_of(sizes.year)
    scene.fill_store(folder / "store", frame)
    scene.write_durably(folder / "raw", scene.raw_bytes(frame))
    write_parquet(frame, folder / "bars.parquet")
    with Duck(folder / "bars.duckdb") as duck:
        duck.insert(frame)
        duck.checkpoint()
    reading = {
        "fetch": partial(_fetching, folder, span),
        "all": partial(_fetching_all, folder, span),
        "store": partial(_reading_store, folder, span),
        DUCKDB: partial(_reading_duck, folder, span),
        PARQUET: partial(_reading_parquet, folder, span),
    }
    in_memory = 48 * sizes.year
    arctic = {}
    if is_installed():
        with opened(folder / "arctic") as peer:
            assert peer is not None
            peer.load(frame, "year")
            peer.write("bench", "year")
        # Its memory is got and kept in its own process.
        reading_arctic = partial(_reading_arctic, folder, span, in_memory)
        arctic = {ARCTIC: reading_arctic, f"kept {ARCTIC}": partial(reading_arctic, keep=True)}
    kept = {f"kept {name}": maker for name, maker in reading.items()} | {"copy": partial(_copying, folder)}
    makers = {"floor": partial(_touching, folder), **reading, **kept, **arctic}
    times = take_turns_apart(sizes.rounds, makers, keep=kept, answer_bytes=in_memory)
    again = Comparison(
        "ms",
        times["floor"],
        "map the same bytes and touch them",
        {peer: times.get(peer) for peer in _PEERS},
    )
    fresh = Comparison(
        "ms",
        times["copy"],
        "for kept answers, read the same bytes into fresh memory",
        {peer: times.get(f"kept {peer}") for peer in _PEERS},
    )
    raw = [times[f"kept {peer}"] for peer in (DUCKDB, PARQUET)]
    bound = fresh.in_unit(min(2.2 * times["copy"].percentile(50), *(peer.percentile(50) for peer in raw)))
    return [
        again.figure("fetch, answer let go", times["fetch"]),
        again.figure("of which the store", times["store"]),
        fresh.figure(
            "fetch, answer kept (goal: 2.2 x the floor, and the raw reads)", times["kept fetch"], goal=bound
        ),
        fresh.figure("of which the store", times["kept store"]),
        fresh.figure("fetch, then read fingerprint, report, coverage; kept", times["kept all"]),
    ]


@contextmanager
def _touching(folder: Path) -> Iterator[Contestant]:
    yield lambda _: scene.map_and_touch(folder / "raw")


@contextmanager
def _copying(folder: Path) -> Iterator[Contestant]:
    yield lambda _: np.fromfile(folder / "raw")


@contextmanager
def _fetching(folder: Path, span: Span) -> Iterator[Contestant]:
    with SeamlessDataProvider(folder / "store", vendors={}, cache_bytes=0) as provider:
        yield lambda _: provider.fetch(scene.SERIES, *span)


@contextmanager
def _fetching_all(folder: Path, span: Span) -> Iterator[Contestant]:
    with SeamlessDataProvider(folder / "store", vendors={}, cache_bytes=0) as provider:

        def fetch_and_read_all(_: int) -> object:
            result = provider.fetch(scene.SERIES, *span)
            return result.receipt.to_json(), result.report, result.coverage, result

        yield fetch_and_read_all


@contextmanager
def _reading_store(folder: Path, span: Span) -> Iterator[Contestant]:
    with EmbeddedStore(folder / "store") as store:
        yield lambda _: store.read(scene.SERIES, span, context=CONTEXT)


@contextmanager
def _reading_duck(folder: Path, span: Span) -> Iterator[Contestant]:
    with Duck(folder / "bars.duckdb") as duck:
        yield lambda _: duck.read(span)


@contextmanager
def _reading_parquet(folder: Path, span: Span) -> Iterator[Contestant]:
    yield lambda _: read_parquet(folder / "bars.parquet", span)


@contextmanager
def _reading_arctic(folder: Path, span: Span, size: int, *, keep: bool = False) -> Iterator[Contestant]:
    with opened(folder / "arctic") as arctic:
        assert arctic is not None
        arctic.touch(_ROOM * size)
        yield lambda _: arctic.read("bench", span, keep=keep)
