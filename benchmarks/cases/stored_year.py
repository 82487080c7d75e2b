"""Fetch a stored year of minute bars, checked, with receipt."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import scene
from benchmarks.figures import Beside, Figure
from benchmarks.peers import DUCKDB, PARQUET, Duck, read_parquet, write_parquet
from benchmarks.sizes import Sizes
from benchmarks.stopwatch import Contestant, take_turns_apart
from qmtl.foundation.timeline import Span
from qmtl.runtime.conformance.stretch import CONTEXT
from qmtl.runtime.io.store.embedded import EmbeddedStore
from qmtl.runtime.sdk.provider import SeamlessDataProvider


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
    kept = {f"kept {name}": maker for name, maker in reading.items()} | {"copy": partial(_copying, folder)}
    makers = {"floor": partial(_touching, folder), **reading, **kept}
    times = take_turns_apart(sizes.rounds, makers, keep=kept, answer_bytes=48 * sizes.year)
    again = Beside(
        "ms",
        times["floor"],
        "map the same bytes and touch them",
        {DUCKDB: times[DUCKDB], PARQUET: times[PARQUET]},
    )
    fresh = Beside(
        "ms",
        times["copy"],
        "for kept answers, read the same bytes into fresh memory",
        {DUCKDB: times[f"kept {DUCKDB}"], PARQUET: times[f"kept {PARQUET}"]},
    )
    return [
        again.figure("fetch, answer let go", times["fetch"], goal=45.0),
        again.figure("of which the store", times["store"], goal=20.0),
        fresh.figure("fetch, answer kept", times["kept fetch"], goal=45.0),
        fresh.figure("of which the store", times["kept store"], goal=20.0),
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
