"""What was checked once is not checked again, and no answer differs for it."""

from __future__ import annotations

import logging
import random
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

import qmtl
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.frames import PRICES, stamps
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.foundation.store_address import StoreAddress
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import DAY, MINUTE, to_ns
from qmtl.runtime.conformance import kept_flags
from qmtl.runtime.conformance.pipeline import ConformancePipeline
from qmtl.runtime.conformance.rules import DEFAULT_THRESHOLDS
from qmtl.runtime.io.evaluate import Subject, evaluate, evaluate_many
from qmtl.runtime.io.flag_keeper import FlagKeeper
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.io.sql.upkeep import KeptStore
from qmtl.runtime.io.store.contract import Store
from qmtl.runtime.io.store.memory import MemoryStore
from qmtl.runtime.io.store.values import Write
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.sdk.stores import embedded_store, postgres_store
from qmtl.runtime.testing.bars import synthetic_bars
from qmtl.runtime.testing.clock import FakeClock

BOTH_ENGINES = True

Make = Callable[..., SeamlessDataProvider]

SERIES = SeriesId.parse("ohlcv:test:A/B:1m")
OTHER = SeriesId.parse("ohlcv:test:C/D:1m")
GRID = Grid(SERIES.timeframe)
COUNT = 1_500
# Runs need 300 rows around at most, so that small stores have an inside and an edge.
PIPELINE = ConformancePipeline(replace(DEFAULT_THRESHOLDS, run_always=236))


def market(seed: int) -> pl.DataFrame:
    """Minutes with runs of one price, outages, quiet stretches, wicks and jumps."""
    rng = np.random.default_rng(seed)
    frame = synthetic_bars(SERIES, Span(0, COUNT * MINUTE), seed=seed)
    values = {name: frame[name].to_numpy().copy() for name in (*PRICES, "volume")}
    there = np.ones(COUNT, dtype=bool)
    for _ in range(12):
        row, kind = int(rng.integers(1, COUNT - 300)), int(rng.integers(8))
        run = slice(row, row + int(rng.integers(2, 290)))
        if kind >= 4:
            for name in PRICES:
                values[name][run] = values["close"][row - 1]
            values["volume"][run] *= rng.integers(2)
        elif kind == 1:
            there[run] = False
        elif kind == 2:
            there[run] &= rng.random(len(there[run])) < 0.5
        elif kind == 3:
            values["low"][row] *= 0.5
        else:  # kind 0
            for name in PRICES:
                values[name][row:] *= 2.0
    return frame.with_columns(pl.Series(name, column) for name, column in values.items()).filter(
        pl.Series(there)
    )


rows = st.integers(0, COUNT - 1)
ranges = st.tuples(rows, rows).map(lambda ends: Span(min(ends) * MINUTE, (max(ends) + 1) * MINUTE))
nearby = st.tuples(rows, st.integers(1, 40)).map(
    lambda ends: Span(ends[0] * MINUTE, (ends[0] + ends[1]) * MINUTE)
)
changes = st.tuples(
    st.sampled_from(["correct", "correct", "correct", "answer", "retract"]), nearby
) | st.tuples(st.just("fill"), ranges)


def change(store: Store, series: SeriesId, what: str, span: Span, frame: pl.DataFrame) -> None:
    inside = frame.filter(frame["ts"].to_physical().is_between(span.start, span.end, closed="left"))
    if what == "fill":
        store.commit(series, Write("test", 1, frame=inside, answered=Coverage.of(span)))
    elif what == "correct":
        other = inside.head(1).with_columns(low=pl.col("low") * 0.4)
        store.commit(series, Write("test", 1, frame=other))
    elif what == "answer":
        store.commit(series, Write("other", 2, answered=Coverage.of(span)))
    else:
        store.retract(series, span, reason="a trial")


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 10_000),
    st.lists(ranges, min_size=1, max_size=3),
    st.lists(changes, min_size=1, max_size=12),
    st.booleans(),
    st.booleans(),
)
def test_kept_flags_are_those_that_the_rules_find(
    seed: int, asked: list[Span], written: list[tuple[str, Span]], in_memory: bool, several: bool
) -> None:
    """Whatever is written between reads, and whichever ranges are read."""
    frame = market(seed)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(kept_flags, "STRETCH_STEPS", 256)
        store: Store = MemoryStore() if in_memory else EmbeddedStore(folder)
        keeper = FlagKeeper(store, FakeClock("2024-01-01"), PIPELINE.max_context)
        given: dict[str, Any] = {"grid": GRID, "facts": SeriesFacts(), "schema": None}
        subjects = [Subject(one, **given) for one in (SERIES, OTHER)]
        change(store, SERIES, "fill", Span(200 * MINUTE, 1_200 * MINUTE), frame)
        change(store, OTHER, "fill", Span(0, COUNT * MINUTE), frame)
        for what, where in written:
            for span in asked:
                computed = evaluate(store, PIPELINE, SERIES, span, now=1, **given)
                if several:
                    both = evaluate_many(store, PIPELINE, subjects, span, now=1, keeper=keeper)
                    found = both[SERIES]
                else:
                    found = evaluate(store, PIPELINE, SERIES, span, now=1, keeper=keeper, **given)
                assert found.flags == computed.flags
                assert found.frame.equals(computed.frame)
                assert dict(found.states.items()) == dict(computed.states.items())
                event(f"flags: {bool(computed.flags)}")
            keeper.flush()
            change(store, SERIES, what, where, frame)
            event(f"kept behind a {what}: {bool(store.kept_flags(SERIES))}")
        store.close()


@pytest.mark.parametrize("behind", [False, True])
def test_flags_of_a_run_rest_on_its_far_end(behind: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The price moves every 40 minutes: a run is plausible unless it is so long that none is."""
    monkeypatch.setattr(kept_flags, "STRETCH_STEPS", 256)
    run, edge = 240, 3 * 256
    first = edge - 36 if behind else edge - 200
    moves = np.arange(COUNT) % 40 == 0
    moves[first : first + run] = False
    moves[[first, first + run]] = True
    close = 100 + np.cumsum(moves) * 0.01
    frame = pl.DataFrame({"ts": np.arange(COUNT) * MINUTE, **dict.fromkeys(PRICES, close), "volume": 1.0})
    frame = frame.with_columns(pl.col("ts").cast(pl.Datetime("ns", "UTC")))
    store = MemoryStore()
    change(store, SERIES, "fill", Span(0, COUNT * MINUTE), frame)
    keeper = FlagKeeper(store, FakeClock("2024-01-01"), PIPELINE.max_context)
    stretch = (
        Span((edge - 256) * MINUTE, edge * MINUTE) if behind else Span(edge * MINUTE, (edge + 256) * MINUTE)
    )

    def flags() -> Any:
        given: dict[str, Any] = {"grid": GRID, "facts": SeriesFacts(), "schema": None}
        return evaluate(store, PIPELINE, SERIES, stretch, now=1, keeper=keeper, **given).flags

    assert len(flags()) == (36 if behind else 40)
    keeper.flush()
    assert len(flags()) == (36 if behind else 40)
    far = first + run - 20 if behind else first + 20
    change(store, SERIES, "correct", Span(far * MINUTE, (far + 1) * MINUTE), frame)
    assert len(flags()) == 0


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each run of the rules has looked at."""
    rows: list[int] = []
    flag = ConformancePipeline.flag

    def counted(self: ConformancePipeline, frame: pl.DataFrame, **options: Any) -> Any:
        rows.append(frame.height)
        return flag(self, frame, **options)

    monkeypatch.setattr(ConformancePipeline, "flag", counted)
    return rows


START = to_ns("2024-01-01")
SPAN = Span(START, START + DAY)


def filled(provider: SeamlessDataProvider, *names: SeriesId) -> None:
    for seed, name in enumerate(names):
        frame = synthetic_bars(name, Span(START - DAY, START + 2 * DAY), seed=seed)
        low = pl.when(pl.int_range(pl.len()) == 2_000).then(pl.col("low") * 0.3).otherwise("low")
        frame = frame.with_columns(low=low)
        ts = stamps(frame)
        answered = Coverage.of(Span(int(ts[0]), int(ts[-1]) + MINUTE))
        provider.store.commit(name, Write("test", 1, frame=frame, answered=answered))


@pytest.mark.parametrize("names", [[SERIES], [SERIES, OTHER]], ids=["one", "several"])
def test_another_process_does_not_check_again(make: Make, judged: list[int], names: list[SeriesId]) -> None:
    def fetched(provider: SeamlessDataProvider, span: Span = SPAN) -> list[qmtl.FetchResult]:
        given = [str(name) for name in names]
        options: dict[str, Any] = {"partial_ok": True}
        if len(names) == 1:
            return [provider.fetch(given[0], *span, **options)]
        return list(provider.fetch_many(given, *span, **options).results.values())

    first = make()
    filled(first, *names)
    before = fetched(first)
    assert len(judged) == 1, "all of them at once"
    first.close()
    second = make()
    part = Span(START + DAY // 4, START + DAY // 2)
    for old, new in zip(before, fetched(second), strict=True):
        assert_frame_equal(new.frame, old.frame)
        assert new.report.to_json()["findings"] == old.report.to_json()["findings"] != []
        assert new.receipt.fingerprint == old.receipt.fingerprint
    fetched(make(), part)
    assert len(judged) == 1, "the rules had nothing to do"
    second.store.commit(names[0], Write("test", 2, frame=before[0].frame[:1].with_columns(volume=1.0)))
    fetched(make())
    assert len(judged) == 2


def test_bars_that_have_just_come_are_checked_again(make: Make, clock: FakeClock, judged: list[int]) -> None:
    """The next bar would make their flags void: it is not worth keeping them."""
    provider = make(clock=FakeClock("2024-01-03T00:00:30Z"))
    filled(provider, SERIES)
    provider.fetch(str(SERIES), START, START + 2 * DAY, partial_ok=True)
    provider.close()
    assert make().store.kept_flags(SERIES) == []


def test_a_read_only_store_is_checked_at_each_read(
    make: Make, judged: list[int], place_named: Callable[[str], Path | str]
) -> None:
    first = make()
    filled(first, SERIES)
    first.close()
    for reads in (1, 2):
        with (
            _read_only(place_named("bars")) as store,
            SeamlessDataProvider(store, vendors={}) as provider,
        ):
            provider.fetch(str(SERIES), *SPAN, partial_ok=True)
        assert len(judged) == reads


def _read_only(place: Path | str) -> KeptStore:
    if isinstance(place, Path):
        return embedded_store(place, read_only=True)
    return postgres_store(StoreAddress.parse(place), read_only=True)


def test_what_differs_is_found_and_replaced(make: Make) -> None:
    first = make()
    filled(first, SERIES)
    first.fetch(str(SERIES), *SPAN, partial_ok=True)
    checked = first.verify_flags()
    assert (checked.ranges, checked.other_rules, checked.differing) == (2, 0, [])
    first.close()
    second = make()
    with second.store._database.writing() as connection:  # type: ignore[attr-defined]  # a fault of our own
        connection.execute("UPDATE kept_flags SET flags = ?", (b"",))
        if connection.dialect.has_proofs:
            proof = connection.dialect.proofs["kept_flags"]
            connection.execute(f"UPDATE kept_flags SET crc = {proof}")
        connection.execute("COMMIT")
    (differing,) = second.verify_flags().differing
    assert differing[0] == SERIES
    assert kept_flags.stretches_of(SPAN, MINUTE).contains(differing[1])
    assert not differing[1].is_empty
    assert second.verify_flags(repair=True).differing == [differing]
    assert second.verify_flags().differing == []


def small_store(folder: Path) -> tuple[EmbeddedStore, Callable[..., Any]]:
    """Two series with flags in many stretches, and how their flags are asked for."""
    store = EmbeddedStore(folder)
    given: dict[str, Any] = {"grid": GRID, "facts": SeriesFacts(), "schema": None}

    def flags(series: SeriesId, *, keeper: FlagKeeper | None) -> Any:
        span = Span(0, COUNT * MINUTE)
        return evaluate(store, PIPELINE, series, span, now=1, keeper=keeper, **given).flags

    return store, flags


def keeper_of(store: Store) -> FlagKeeper:
    return FlagKeeper(store, FakeClock("2024-01-01"), PIPELINE.max_context)


@pytest.fixture
def many_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store whose kept flags fill several pages."""
    monkeypatch.setattr(kept_flags, "STRETCH_STEPS", 16)
    store, flags = small_store(tmp_path / "many")
    keeper = keeper_of(store)
    for seed, series in enumerate((SERIES, OTHER)):
        change(store, series, "fill", Span(0, COUNT * MINUTE), market(seed))
        flags(series, keeper=keeper)
    keeper.flush()
    assert len(store.kept_flags(SERIES)) > 90
    store.close()
    return tmp_path / "many"


def pages_of_flags(database: Path) -> list[int]:
    with sqlite3.connect(database) as connection:
        found = connection.execute("SELECT pageno FROM dbstat WHERE name = 'kept_flags'").fetchall()
    connection.close()
    return [page - 1 for (page,) in found]


@pytest.mark.slow
def test_no_damage_of_kept_flags_changes_an_answer(
    many_kept: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "seamless.store")
    whole = (many_kept / "bars.sqlite").read_bytes()
    pages = pages_of_flags(many_kept / "bars.sqlite")
    assert len(pages) >= 3
    dice = random.Random(1)
    places = [(page, dice.randrange(8_192), 1 << dice.randrange(8)) for page in pages for _ in range(12)]
    places += [(page, at, 0xFF) for page in pages for at in (0, 3, 5, 8, 12)]  # of the header
    right = 0
    for number, (page, at, bits) in enumerate(places):
        folder = tmp_path / f"copy{number}"
        shutil.copytree(many_kept, folder)
        data = bytearray(whole)
        data[page * 8_192 + at] ^= bits
        (folder / "bars.sqlite").write_bytes(data)
        store, flags = small_store(folder)
        try:
            check_corrected(store, flags, dice)
            right += 1
        except qmtl.StoreCorruptError:  # a commit cannot search for what to make void
            with suppress(qmtl.StoreCorruptError):  # for good, if it is the page itself
                store.verify(repair=True)
                check_corrected(store, flags, dice)
                right += 1
        except AssertionError as wrong:
            wrong.add_note(f"bits {bits:#x} of byte {at} of page {page}")
            raise
        store.close()
        shutil.rmtree(folder)
    assert right >= 0.8 * len(places)


def check_corrected(store: EmbeddedStore, flags: Callable[..., Any], dice: random.Random) -> None:
    for row in dice.sample(range(COUNT), 5):
        change(store, SERIES, "correct", Span(row * MINUTE, (row + 1) * MINUTE), market(0))
    for series in (SERIES, OTHER):
        for _ in range(2):
            keeper = keeper_of(store)
            assert flags(series, keeper=keeper) == flags(series, keeper=None)
            keeper.flush()


@pytest.mark.parametrize(
    "spoil",
    [
        "UPDATE series SET node = 'garbage' WHERE id = 2",
        "UPDATE tx SET series = 2 WHERE series = 1",
    ],
)
def test_damage_of_a_list_between_a_read_and_the_keeping_keeps_nothing(tmp_path: Path, spoil: str) -> None:
    store, flags = small_store(tmp_path / "store")
    for series in (SERIES, OTHER):
        change(store, series, "fill", Span(0, COUNT * MINUTE), market(1))
    keeper = keeper_of(store)
    flags(SERIES, keeper=keeper)
    change(store, SERIES, "correct", Span(700 * MINUTE, 701 * MINUTE), market(1))
    change(store, OTHER, "correct", Span(0, MINUTE), market(1))
    with store._directory.writing() as connection:
        connection.execute(spoil)
        connection.execute("COMMIT")
    keeper.flush()
    assert store.kept_flags(SERIES) == []
    store.close()


def test_flags_that_wait_for_a_closed_store_are_let_go() -> None:
    store = MemoryStore()
    change(store, SERIES, "fill", Span(0, COUNT * MINUTE), market(1))
    keeper = keeper_of(store)
    given: dict[str, Any] = {"grid": GRID, "facts": SeriesFacts(), "schema": None}
    evaluate(store, PIPELINE, SERIES, Span(0, COUNT * MINUTE), now=1, keeper=keeper, **given)
    store.close()
    keeper.flush()


def test_damaged_flags_are_found_again(make: Make, judged: list[int]) -> None:
    first = make()
    filled(first, SERIES)
    first.fetch(str(SERIES), *SPAN, partial_ok=True)
    first.close()
    second = make()
    with second.store._database.writing() as connection:  # type: ignore[attr-defined]  # a flipped bit
        connection.execute("UPDATE kept_flags SET flags = ?", (b"",))
        connection.execute("COMMIT")
        has_proofs = connection.dialect.has_proofs
    if not has_proofs:  # a server finds flipped bits in its own pages; this is an edit, which a look finds
        assert second.verify_flags().differing
        return
    assert second.fetch(str(SERIES), *SPAN, partial_ok=True).report.warnings
    assert len(judged) == 2


@pytest.mark.parametrize("hole", [False, True])
def test_the_second_small_range_is_judged_with_its_whole_stretch(
    make: Make, judged: list[int], hole: bool
) -> None:
    first, hour = make(), 60 * MINUTE
    stretch = kept_flags.stretches_of(Span(START, START + hour), MINUTE)
    bars = synthetic_bars(SERIES, Span(stretch.start - DAY, stretch.end + DAY))
    if hole:
        bars = bars.filter(pl.col("ts").to_physical() != START)
    first.store.commit(SERIES, Write("test", 1, frame=bars))

    def fetch(provider: SeamlessDataProvider, hours: int) -> None:
        span = START + hours * hour, START + (hours + 1) * hour
        found = provider.fetch(str(SERIES), *span, strategy="PARTIAL_FILL", partial_ok=True)
        assert found.frame.height == (59 if hole and not hours else 60)

    fetch(first, 2)
    fetch(first, 0)
    small, whole = 60 + 2 * 64, kept_flags.STRETCH_STEPS + 2 * 64
    assert judged == ([small, small - 1] if hole else [small, whole])
    first.close()
    second = make()
    for hours in (4, 6):
        fetch(second, hours)
    assert judged[2:] == ([small, whole - 1] if hole else []), "the next process does not judge it again"


def test_a_stretch_is_judged_whole_but_once(make: Make, judged: list[int]) -> None:
    """However often its flags become void: whoever follows the end of a series judges what is new."""
    provider = make()
    bars = synthetic_bars(SERIES, Span(START - 10 * DAY, START + 10 * DAY))
    provider.store.commit(SERIES, Write("test", 1, frame=bars))
    for minute in range(4):
        provider.fetch(str(SERIES), START, START + 60 * MINUTE)
        near = bars.filter(pl.col("ts").to_physical() == START + minute * MINUTE)
        provider.store.commit(SERIES, Write("test", 1, frame=near.with_columns(volume=1.0)))
    assert judged == [188, kept_flags.STRETCH_STEPS + 128, 188, 188]


def test_who_has_a_budget_does_not_wait_for_a_whole_stretch(make: Make, judged: list[int]) -> None:
    provider = make()
    bars = synthetic_bars(SERIES, Span(START - 10 * DAY, START + 10 * DAY))
    provider.store.commit(SERIES, Write("test", 1, frame=bars))
    for hours in range(3):
        hour = START + hours * 60 * MINUTE, START + (hours + 1) * 60 * MINUTE
        provider.fetch(str(SERIES), *hour, sla=qmtl.SLAPolicy(storage_wait=60.0))
    assert judged == [188] * 3


def test_a_stretch_that_has_not_ended_is_not_judged_whole(make: Make, judged: list[int]) -> None:
    provider = make(clock=FakeClock("2024-01-03T00:00:30Z"))
    bars = synthetic_bars(SERIES, Span(START - 10 * DAY, START + 2 * DAY))
    provider.store.commit(SERIES, Write("test", 1, frame=bars))
    for hours in range(3):
        first = START + DAY + hours * 60 * MINUTE
        provider.fetch(str(SERIES), first, first + 60 * MINUTE)
    assert judged == [188] * 3
