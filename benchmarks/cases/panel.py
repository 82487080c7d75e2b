"""Fetch a day of minute bars of many series at once, checked, with receipts."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import polars as pl

from benchmarks import scene
from benchmarks.arctic import Arctic, opened
from benchmarks.figures import ARCTIC, DUCKDB, PARQUET, Comparison, Figure
from benchmarks.peers import Duck, read_parquet_of_many, write_parquet
from benchmarks.sizes import Sizes
from benchmarks.stopwatch import Contestant, OwnTime, take_turns
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import DAY, MINUTE
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.sdk.provider import SeamlessDataProvider

DAYS = 30
# Of the days that are stored, the one that is read: it neither begins nor ends what was written at once.
_DAY = 12
# Series that are written in one transaction.
_AT_ONCE = 50


def run(sizes: Sizes, folder: Path) -> list[Figure]:
    """Not cached and cached, against raw reads of the same rows in the order of series and time."""
    names = [scene.series_number(number) for number in range(sizes.panel)]
    with Duck(folder / "bars.duckdb") as duck, opened(folder / "arctic") as arctic:
        _fill(folder, names, duck, arctic)
        span = Span(scene.YEAR_START + _DAY * DAY, scene.YEAR_START + (_DAY + 1) * DAY)
        scene.write_durably(folder / "raw", bytes(48 * len(names) * span.length // MINUTE))
        texts = [name.text for name in names]
        others: dict[str, Contestant] = {}
        if arctic is not None:
            others[ARCTIC] = partial(_read_arctic, arctic, texts, span)
        with (
            SeamlessDataProvider(folder / "store", vendors={}, cache_bytes=0) as plain,
            SeamlessDataProvider(folder / "store", vendors={}, cache_bytes=1 << 30) as caching,
        ):
            times = take_turns(
                sizes.rounds,
                {
                    "floor": lambda _: scene.map_and_touch(folder / "raw"),
                    "fetch": lambda _: plain.fetch_many(texts, *span),
                    "loop": lambda _: [plain.fetch(text, *span) for text in texts],
                    "cached": lambda _: caching.fetch_many(texts, *span),
                    "long": partial(_long, caching, texts, span),
                    "wide": partial(_wide, caching, texts, span),
                    DUCKDB: lambda _: duck.read_many(span),
                    PARQUET: lambda _: read_parquet_of_many(folder / "parquet", span),
                    **others,
                },
            )
    comparison = Comparison(
        "ms",
        times["floor"],
        "map the same bytes and touch them",
        {peer: times.get(peer) for peer in (DUCKDB, PARQUET, ARCTIC)},
    )
    raw = comparison.in_unit(times[DUCKDB].percentile(50))
    return [
        comparison.figure("not cached", times["fetch"], goal=min(2 * raw, 0.25 * len(names))),
        comparison.figure("cached", times["cached"], goal=0.03 * len(names)),
        comparison.figure("not cached, one fetch after the other", times["loop"]),
        comparison.figure("cached, as one long frame", times["long"]),
        comparison.figure("cached, closes side by side", times["wide"]),
    ]


def _long(provider: SeamlessDataProvider, names: list[str], span: Span, _: int) -> pl.DataFrame:
    return provider.fetch_many(names, *span).frame


def _wide(provider: SeamlessDataProvider, names: list[str], span: Span, _: int) -> pl.DataFrame:
    return provider.fetch_many(names, *span).wide("close")


def _read_arctic(arctic: Arctic, names: list[str], span: Span, _: int) -> OwnTime:
    return arctic.read_many(names, span)


def _fill(folder: Path, names: list[SeriesId], duck: Duck, arctic: Arctic | None) -> None:
    """The same rows in the store, in the peers, and in Parquet files of fifty series each."""
    (folder / "parquet").mkdir()
    rows = DAYS * DAY // MINUTE
    with EmbeddedStore(folder / "store") as store:
        for first in range(0, len(names), _AT_ONCE):
            frames = {name: scene.year_of_bars(rows, name) for name in names[first : first + _AT_ONCE]}
            store.commit_many({name: scene.write_of(frame) for name, frame in frames.items()})
            for name, frame in frames.items():
                duck.insert(frame, name.text)
                if arctic is not None:
                    arctic.load(frame, name.text)
                    arctic.write(name.text, name.text)
                    arctic.forget(name.text)
            whole = pl.concat(
                frame.select(pl.lit(name.text).alias("series"), pl.all()) for name, frame in frames.items()
            )
            write_parquet(whole, folder / "parquet" / f"{first:06}.parquet")
    duck.checkpoint()
