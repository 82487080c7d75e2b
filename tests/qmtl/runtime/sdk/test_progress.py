"""Whoever waits longer than a second sees how far it is; nobody else sees anything."""

from __future__ import annotations

import asyncio
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import qmtl
from qmtl.runtime.sdk import progress
from qmtl.runtime.sdk.progress_screens import Line, NotebookScreen, lines_html, lines_text
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.testing.vendors import Raise, ScriptedVendor

Make = Callable[..., SeamlessDataProvider]

SERIES, OTHER = "ohlcv:test:A:1m", "ohlcv:test:B:1m"
DAY = ("2024-01-01", "2024-01-02")


class Recorded:
    """A screen that notes what is drawn on it."""

    def __init__(self) -> None:
        self.drawn: list[list[tuple[str, int, int | None]]] = []
        self.cleared = 0

    def draw(self, lines: Sequence[Line]) -> None:
        self.drawn.append([(line.series, line.done, line.total) for line in lines])

    def clear(self) -> None:
        self.cleared += 1


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    one = Recorded()
    monkeypatch.setattr(progress, "find_screen", lambda: one)
    return one


def slow(seconds: float) -> ScriptedVendor:
    """Twelve pages, each after so many seconds of the clock's own time."""
    return ScriptedVendor(page_rows=120, delay=seconds)


def test_a_long_fetch_shows_how_far_it_is(make: Make, screen: Recorded) -> None:
    assert make(slow(0.5)).fetch(SERIES, *DAY).frame.height == 1440
    done = [lines[0][1] for lines in screen.drawn]
    assert {lines[0][0] for lines in screen.drawn} == {SERIES}
    assert {lines[0][2] for lines in screen.drawn[1:]} <= {None, 1440}
    assert done == sorted(done)
    assert 0 < done[-1] < 1440 or done[-1] == 1440
    # Six seconds, the first of which shows nothing, at most five times a second.
    assert 5 <= len(done) <= 26
    assert screen.cleared == 1


@pytest.mark.parametrize("face", ["fetch_async", "fetch_many", "backfill", "backfill of several", "refresh"])
def test_every_face_shows_it(make: Make, screen: Recorded, face: str) -> None:
    provider = make(slow(0.5))
    match face:
        case "fetch_async":
            asyncio.run(provider.fetch_async(SERIES, *DAY))
        case "fetch_many":
            provider.fetch_many([SERIES, OTHER], *DAY)
        case "backfill":
            provider.backfill(SERIES, *DAY)
        case "refresh":
            provider.fetch(SERIES, *DAY, progress=False)
            assert screen.drawn == []
            provider.refresh(SERIES, *DAY, progress=False)
            assert screen.drawn == []
            provider.refresh(SERIES, *DAY)
        case _:
            provider.backfill([SERIES, OTHER], *DAY)
    assert screen.drawn
    assert screen.cleared == 1
    if "of several" in face or face == "fetch_many":
        assert {name for lines in screen.drawn for name, _, _ in lines} == {SERIES, OTHER}


def test_a_quick_fetch_shows_nothing(make: Make, screen: Recorded) -> None:
    provider = make(slow(0.05))
    provider.fetch(SERIES, *DAY)
    provider.fetch(SERIES, *DAY)
    assert (screen.drawn, screen.cleared) == ([], 0)


def test_it_can_be_turned_off(make: Make, screen: Recorded) -> None:
    make(slow(0.5)).fetch(SERIES, *DAY, progress=False)
    make(slow(0.5), "two", progress=False).fetch(SERIES, *DAY)
    make(slow(0.5), "three", progress=False).fetch_many([SERIES], *DAY)
    assert screen.drawn == []
    make(slow(0.5), "four", progress=False).fetch(SERIES, *DAY, progress=True)
    assert screen.drawn


def test_a_callback_hears_the_same_as_before(make: Make, screen: Recorded) -> None:
    heard: list[int] = []
    make(slow(0.5)).fetch(SERIES, *DAY, on_progress=lambda progress: heard.append(progress.done))
    assert heard[-1] == 1440
    assert screen.drawn


def test_it_is_gone_after_an_error(make: Make, screen: Recorded) -> None:
    down = Raise(qmtl.SourceUnavailableError("down", source="x"))
    provider = make(ScriptedVendor(page_rows=120, delay=0.5, faults={8: down}))
    with pytest.raises(qmtl.SourceUnavailableError):
        provider.fetch(SERIES, *DAY)
    assert screen.drawn
    assert screen.cleared == 1


def test_a_screen_that_is_gone_stops_no_fetch(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(Recorded):
        def draw(self, lines: Sequence[Line]) -> None:
            raise BrokenPipeError

        def clear(self) -> None:
            raise ValueError("I/O operation on closed file")

    monkeypatch.setattr(progress, "find_screen", Gone)
    assert make(slow(0.5)).fetch(SERIES, *DAY).frame.height == 1440


def test_threads_share_one_screen(make: Make, screen: Recorded) -> None:
    drawing = threading.Lock()

    def draw(lines: Sequence[Line]) -> None:
        assert drawing.acquire(blocking=False), "two threads draw at once"
        screen.drawn.append([(line.series, line.done, line.total) for line in lines])
        drawing.release()

    screen.draw = draw  # type: ignore[method-assign]
    providers = [make(slow(0.5), f"bars{n}") for n in range(3)]
    with ThreadPoolExecutor(3) as pool:
        names = [f"ohlcv:test:{n}:1m" for n in range(3)]
        results = list(pool.map(lambda p, name: p.fetch(name, *DAY), providers, names))
    assert [result.frame.height for result in results] == [1440] * 3
    assert {name for lines in screen.drawn for name, _, _ in lines} <= set(names)


def test_a_bar_of_plain_html() -> None:
    lines = [Line("ohlcv:test:<A>:1m", 300, 1440), Line(OTHER), *(Line(f"n{n}") for n in range(20))]
    html = lines_html(lines)
    assert "<progress value='300' max='1440'></progress>" in html
    assert "<progress></progress>" in html
    assert "ohlcv:test:&lt;A&gt;:1m" in html
    assert "and 12 more series" in html
    assert "script" not in html
    assert lines_text(lines).splitlines()[:2] == ["ohlcv:test:<A>:1m: 300 of 1,440 bars", f"{OTHER}: asking"]


def test_a_notebook_has_one_output_that_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[tuple[str, str]] = []

    class Handle:
        def update(self, data: dict[str, str], *, raw: bool) -> None:
            shown.append(("update", data["text/html"]))

    class Display:
        @staticmethod
        def display(data: dict[str, str], *, raw: bool, display_id: bool) -> Handle:
            assert raw
            assert display_id
            shown.append(("display", data["text/html"]))
            return Handle()

    monkeypatch.setitem(sys.modules, "IPython", type(sys)("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", Display)  # type: ignore[arg-type]
    notebook = NotebookScreen()
    notebook.draw([Line(SERIES, 1, 10)])
    notebook.draw([Line(SERIES, 2, 10)])
    notebook.clear()
    assert [kind for kind, _ in shown] == ["display", "update", "update"]
    assert "value='2'" in shown[1][1]
    assert shown[2][1] == ""


PROGRAM = """
import sys, qmtl
from qmtl.runtime.testing.vendors import ScriptedVendor
vendor = ScriptedVendor(page_rows=240, delay=0.6)
with qmtl.SeamlessDataProvider(sys.argv[1], vendors=vendor) as sdp:
    print(sdp.fetch("ohlcv:test:A:1m", "2024-01-01", "2024-01-02").frame.height)
"""


def test_on_a_terminal_it_is_on_stderr_and_gone_at_the_end(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "bars")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, env=environment)
    os.close(theirs)
    seen = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # the other side is closed: so Linux says it
            break
        if not part:
            break
        seen += part
    os.close(ours)
    assert process.stdout is not None
    assert process.stdout.read() == b"1440\n"
    assert process.wait() == 0
    process.stdout.close()
    text = seen.decode()
    assert "ohlcv:test:A:1m" in text
    assert "/1440" in text
    assert "\x1b[2K" in text.rpartition("ohlcv:test:A:1m")[2], "the line is erased"


def test_nothing_is_shown_where_stderr_is_a_pipe(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "bars")]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (ended.stdout, ended.stderr) == ("1440\n", "")
