"""Child processes that tests of this folder can start within a millisecond."""

from __future__ import annotations

import importlib.util
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from types import ModuleType

import numpy as np
import polars as pl
import pytest

from qmtl.foundation.timeline import Coverage
from qmtl.runtime.io.sql.upkeep import KeptStore
from qmtl.runtime.io.store.values import Write
from qmtl.runtime.testing.store_model import SERIES
from qmtl.runtime.testing.store_suites.bars import OTHER, minutes, some_bars
from tests.qmtl.runtime.io.sql.copies import FOLDER, ON_A_SERVER, SERVER

SCRIPT = Path(__file__).with_name("store_children.py")


class Children:
    """The script `store_children.py`, which forks itself for each task."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(SCRIPT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        self._out = self._process.stdout.fileno()
        self._buffer = b""
        assert self._line(120.0) == "serving"

    def run(self, *tasks: tuple[object, ...], timeout_s: float = 120.0) -> list[str]:
        """Run tasks at once and to their ends; what they wrote. Each must end well."""
        self._start(tasks)
        written, failed = [], []
        while (line := self._line(timeout_s)) != "done":
            assert line is not None, f"children hang after {written}"
            if line.startswith("ended"):
                failed += [line] if line.split()[2] != "0" else []
            elif not line.startswith("started"):
                written.append(line)
        assert not failed, f"children failed: {failed}, after {written}"
        return written

    def run_and_kill(self, task: tuple[object, ...], *, lines: int, after_s: float) -> list[str]:
        """Start a task, and kill it so long after it has written `ready` and so many lines more.

        What it wrote before it died.
        """
        self._start((task,))
        started = self._line(120.0)
        assert started is not None
        pid = int(started.removeprefix("started "))
        assert self._line(120.0) == "ready"
        written = []
        while len(written) < lines:
            line = self._line(120.0)
            assert line is not None, f"the child hangs after {written}"
            written.append(line)
        deadline = time.perf_counter() + after_s
        while (left := deadline - time.perf_counter()) > 0:
            line = self._line(left)
            if line is not None:
                written.append(line)
        os.kill(pid, signal.SIGKILL)
        while (line := self._line(120.0)) != "done":
            assert line is not None
            if line.startswith("ended"):
                assert line == f"ended {pid} {-signal.SIGKILL}", line
            else:
                written.append(line)
        return written

    def _start(self, tasks: tuple[tuple[object, ...], ...]) -> None:
        assert self._process.stdin is not None
        line = "\v".join("\t".join(map(str, task)) for task in tasks)
        self._process.stdin.write(f"{len(tasks)}\t{line}\n".encode())
        self._process.stdin.flush()

    def _line(self, timeout_s: float) -> str | None:
        """The next line, or None if none comes in time."""
        deadline = time.perf_counter() + timeout_s
        while b"\n" not in self._buffer:
            left = deadline - time.perf_counter()
            if left <= 0 or not select.select([self._out], [], [], left)[0]:
                return None
            part = os.read(self._out, 65_536)
            assert part, "the script has ended"
            self._buffer += part
        line, self._buffer = self._buffer.split(b"\n", 1)
        return line.decode()

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(60.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


@pytest.fixture(scope="session")
def script() -> ModuleType:
    """What the children run, for tests that must know what they do."""
    spec = importlib.util.spec_from_file_location("store_children", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def children() -> Iterator[Children]:
    serving = Children()
    yield serving
    serving.close()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.service)])
def new_place(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Places of stores that do not exist yet, by either engine: `script.opened` opens them."""
    if request.param == "postgres":
        made: Callable[[], str] = request.getfixturevalue("new_schema")
        return made
    numbers = count()
    return lambda: str(tmp_path / f"store {next(numbers)}")


@pytest.fixture
def new_store(new_place: Callable[[], str], script: ModuleType) -> Iterator[Callable[..., KeptStore]]:
    """`new_store(**options)`: an empty store, by either engine; it is closed after the test."""
    with ExitStack() as opened:
        yield lambda **options: opened.enter_context(script.opened(new_place(), **options))


@pytest.fixture
def place(new_place: Callable[[], str]) -> str:
    return new_place()


@pytest.fixture
def place_of(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """A place of one kind where no store is yet."""
    numbers = count()

    def place(kind: str) -> str:
        if kind == SERVER:
            made: Callable[[], str] = request.getfixturevalue("new_schema")
            return made()
        return str(tmp_path / f"place {next(numbers)}")

    return place


@pytest.fixture(
    params=[
        pytest.param((FOLDER, FOLDER)),
        pytest.param((FOLDER, SERVER), marks=ON_A_SERVER),
        pytest.param((SERVER, FOLDER), marks=ON_A_SERVER),
        pytest.param((SERVER, SERVER), marks=ON_A_SERVER),
    ],
    ids="-to-".join,
)
def places(request: pytest.FixtureRequest, place_of: Callable[[str], str]) -> tuple[str, str]:
    """Where a store is, and where it is copied to."""
    source, target = request.param
    return place_of(source), place_of(target)


@pytest.fixture(params=[FOLDER, pytest.param(SERVER, marks=ON_A_SERVER)])
def target(request: pytest.FixtureRequest, place_of: Callable[[str], str]) -> str:
    return place_of(request.param)


@pytest.fixture
def stored(tmp_path: Path, script: ModuleType) -> str:
    """The folder of a store of two chunks and some single rows."""
    place = str(tmp_path / "store")
    noise = pl.Series(np.random.default_rng(0).normal(size=20_000).cumsum())
    with script.opened(place) as store:
        rows = some_bars(0, 20_000).with_columns(close=noise)
        store.commit(SERIES, Write("v", 1, rows, Coverage.of(minutes(0, 20_100))))
        store.commit(SERIES, Write("v", 1, some_bars(100, 50, price=3.0)))
        store.commit(OTHER, Write("v", 1, some_bars(0, 3)))
        store.pin("paper")
    return place
