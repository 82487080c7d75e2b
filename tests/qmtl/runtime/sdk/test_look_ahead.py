"""Whatever a strategy tries to read on with, while it runs, is stopped."""

from __future__ import annotations

import asyncio
import os
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from qmtl import (
    Bar,
    LookAheadError,
    Portfolio,
    Runner,
    SeamlessDataProvider,
    Span,
    Strategy,
    StreamInput,
    import_frame,
    node,
)
from qmtl.foundation.times import HOUR, to_ns
from qmtl.runtime.testing import synthetic_bars

A = "ohlcv:mine:A:1h"
START, END = to_ns("2024-03-01"), to_ns("2024-03-04")


class Desk:
    """A store with bars, a provider of the run and another one, and a thread that was there before."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        import_frame(folder, synthetic_bars(A, Span(START - 24 * HOUR, END)), A)
        self.own = SeamlessDataProvider(folder, vendors={})
        self.other = SeamlessDataProvider(folder, vendors={})
        self.store = self.own.store
        self.pool = ThreadPoolExecutor(1)
        self.pool.submit(int).result()

    def run(self, tries: Callable[[Desk], object]) -> None:
        """Try it at the second bar."""
        desk = self

        class Peeks(Strategy):
            price = StreamInput(A)
            bars = 0

            def on_bar(self, bar: Bar, portfolio: Portfolio) -> None:
                self.bars += 1
                if self.bars == 2:
                    tries(desk)

        Runner.submit(Peeks, history_provider=self.own, start=START, end=END)

    def close(self) -> None:
        self.own.close()
        self.other.close()
        self.pool.shutdown()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path / "bars")
    yield made
    made.close()


async def asked(provider: SeamlessDataProvider) -> None:
    await provider.fetch_async(A, START, END)


async def asked_many(provider: SeamlessDataProvider) -> None:
    await provider.fetch_many_async([A], START, END)


class Hold(Strategy):
    price = StreamInput(A)

    def on_bar(self, bar: Bar, portfolio: Portfolio) -> None:
        portfolio.target(bar.series, 1.0)


def in_a_thread(desk: Desk) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(desk.own.fetch, A, START, END).result()


def a_process(_: Desk) -> None:
    subprocess.run([sys.executable, "-c", "pass"], check=True)


@pytest.mark.parametrize(
    ("tries", "tried"),
    [
        (lambda desk: desk.own.fetch(A, START, END), "read bars"),
        (lambda desk: desk.other.fetch(A, START, END), "read bars"),
        (lambda desk: desk.own.fetch_many([A], START, END), "read bars"),
        (lambda desk: list(desk.own.scan_many([A], START, END)), "read bars"),
        (lambda desk: desk.own.coverage(A, START, END), "read bars"),
        (lambda desk: desk.own.commits(A), "read bars"),
        (lambda desk: asyncio.run(asked(desk.own)), "read bars"),
        (lambda desk: asyncio.run(asked_many(desk.other)), "read bars"),
        (lambda desk: desk.pool.submit(desk.own.fetch, A, START, END).result(), "read bars"),
        (lambda desk: desk.own.store, "take the store of a provider"),
        (lambda desk: desk.own.diff(A, START, START), "take the store of a provider"),
        (lambda desk: desk.own.now(), "ask for the time"),
        (
            lambda desk: Runner.submit(Hold, history_provider=desk.own, start=START, end=END),
            "start another run",
        ),
        (lambda desk: SeamlessDataProvider(desk.folder, vendors={}).fetch(A, START, END), None),
        (in_a_thread, "read bars"),
        (a_process, "start a child process"),
        (lambda _: os.system("true"), "start a child process"),
        (lambda _: os.fork(), "start a child process"),
        (lambda _: socket.create_connection(("127.0.0.1", 9), timeout=1), "open a connection"),
        (lambda desk: sqlite3.connect(desk.folder / "bars.db"), "open a database"),
        (lambda desk: next(iter(desk.folder.iterdir())).read_bytes(), "open a file of the store"),
    ],
)
def test_what_reads_on_is_stopped(desk: Desk, tries: Callable[[Desk], object], tried: str | None) -> None:
    with pytest.raises(LookAheadError) as caught:
        desk.run(tries)
    if tried is not None:
        assert caught.value.tried == tried
        assert f"a strategy tried to {tried} while it was running" in str(caught.value)
    # Once the run has ended, everybody reads again.
    assert desk.own.fetch(A, START, END).frame.height == 72
    desk.pool.submit(desk.other.fetch, A, START, END).result()


def test_a_node_that_reads_on_is_stopped(desk: Desk) -> None:
    class Peeks(Hold):
        price = StreamInput(A)
        best = node(price, lambda _: desk.other.fetch(A, START, END).frame["close"].max())

    with pytest.raises(LookAheadError, match="read bars"):
        Runner.submit(Peeks, history_provider=desk.own, start=START, end=END)


def test_an_expression_that_calls_python_is_stopped_on_the_threads_of_polars(desk: Desk) -> None:
    def peek(close: pl.Series) -> float:
        return float(desk.other.fetch(A, START, END).frame["close"].max())  # type: ignore[arg-type]

    class Peeks(Hold):
        price = StreamInput(A, window=2)
        best = node(price, pl.col("close").map_batches(peek, return_dtype=pl.Float64, returns_scalar=True))

    with pytest.raises(LookAheadError, match="a strategy tried to read bars while it was running"):
        Runner.submit(Peeks, history_provider=desk.own, start=START, end=END)


def test_a_thread_that_was_there_before_reads_nothing_between_bars_either(desk: Desk) -> None:
    """It would be allowed while the run itself reads its next rows."""
    stop, seen = threading.Event(), []

    def read_always() -> None:
        while not stop.is_set():
            try:
                seen.append(desk.other.fetch(A, START, END).frame.height)
            except LookAheadError:
                seen.append(0)

    class Waits(Hold):
        price = StreamInput(A)
        before = 0

        def on_bar(self, bar: Bar, portfolio: Portfolio) -> None:
            began.set()
            count = len(seen)
            # One answer may have been on its way when the run began.
            while len(seen) < count + 2:
                pass
            assert seen[-1] == 0

    began = threading.Event()
    work = desk.pool.submit(read_always)
    try:
        Runner.submit(Waits, history_provider=desk.own, start=START, end=START + 5 * HOUR)
    finally:
        stop.set()
    work.result()
    assert began.is_set()


def test_runs_of_two_threads_do_not_stop_each_other(desk: Desk) -> None:
    def run(provider: SeamlessDataProvider) -> Any:
        return Runner.submit(Hold, history_provider=provider, start=START, end=END).proof.outcome

    with ThreadPoolExecutor(2) as pool:
        outcomes = set(pool.map(run, [desk.own, desk.other] * 5))
    assert len(outcomes) == 1


def test_windows_that_are_kept_show_nothing_new(desk: Desk) -> None:
    kept: list[pl.DataFrame] = []
    before: list[pl.DataFrame] = []

    def keep(window: pl.DataFrame) -> float:
        kept.append(window)
        before.append(window.clone())
        return 0.0

    class Keeps(Hold):
        price = StreamInput(A, window=5)
        value = node(price, keep)

    Runner.submit(Keeps, history_provider=desk.own, start=START, end=END)
    closed = [window["ts"][-1] for window in kept]
    assert closed == sorted(closed)
    assert all(window.height == 5 for window in kept)
    assert all(window.equals(was) for window, was in zip(kept, before, strict=True))
