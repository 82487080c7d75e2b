"""How far long fetches are, in front of whoever waits: on a terminal, in a notebook, and nowhere else."""

from __future__ import annotations

import asyncio
import math
import sys
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

from qmtl.runtime.ingest.backfill_result import OnProgress, Progress
from qmtl.runtime.sdk.progress_screens import Line, NotebookScreen, TerminalScreen, is_notebook

# What ends within this time shows nothing; what goes on longer is drawn anew so often. In seconds.
SHOWN_AFTER_S = 1.0
DRAWN_EVERY_S = 0.2


class Screen(Protocol):
    """Where lines are drawn. Used by one thread at a time."""

    def draw(self, lines: Sequence[Line]) -> None:
        """Show these lines (at least one) instead of those drawn before."""
        ...

    def clear(self) -> None:
        """Take away what was drawn; `draw` may follow."""
        ...


def find_screen() -> Screen | None:
    """The notebook that runs this process, or the terminal behind stderr; None if nobody looks."""
    if is_notebook():
        return NotebookScreen()
    stderr = sys.stderr
    if stderr is not None and not stderr.closed and stderr.isatty():
        return TerminalScreen()
    return None


class Board:
    """All lines on show in this process: it has one terminal, however many fetches and threads."""

    def __init__(self, find: Callable[[], Screen | None] | None = None) -> None:
        self._find = find
        self._guard = threading.Lock()
        self._screen: Screen | None = None
        self._lines: list[Line] = []
        self._drawn_at = -math.inf

    @asynccontextmanager
    async def showing(
        self, series: object, on_progress: OnProgress | None
    ) -> AsyncIterator[OnProgress | None]:
        """While the block lasts, and once it has lasted `SHOWN_AFTER_S`, show what the given callback hears.

        The callback passes on to `on_progress`. To be used on the loop that calls it.
        """
        screen = (self._find or find_screen)()
        if screen is None:
            yield on_progress
            return
        line = Line(str(series))

        def heard(progress: Progress) -> None:
            line.done, line.total = progress.done, progress.total
            if on_progress is not None:
                on_progress(progress)

        ticking = asyncio.ensure_future(self._tick(line, screen))
        try:
            yield heard
        finally:
            ticking.cancel()
            self._remove(line)

    async def _tick(self, line: Line, screen: Screen) -> None:
        await asyncio.sleep(SHOWN_AFTER_S)
        with self._guard:
            self._screen = self._screen or screen
            self._lines.append(line)
            self._drawn_at = -math.inf
        while self._draw():
            await asyncio.sleep(DRAWN_EVERY_S)

    def _draw(self) -> bool:
        """Draw, unless another fetch has just done so. False: it cannot be drawn any more."""
        with self._guard:
            if self._screen is None:
                return False
            now = asyncio.get_running_loop().time()
            if now - self._drawn_at < DRAWN_EVERY_S / 2:
                return True
            self._drawn_at = now
            return _still_there(lambda screen: screen.draw(self._lines), self._screen)

    def _remove(self, line: Line) -> None:
        with self._guard:
            if not any(one is line for one in self._lines):
                return
            self._lines = [one for one in self._lines if one is not line]
            screen = self._screen
            if screen is not None and not self._lines:
                self._screen = None
                _still_there(lambda screen: screen.clear(), screen)


def _still_there(act: Callable[[Screen], None], screen: Screen) -> bool:
    try:
        act(screen)
    except (OSError, ValueError):
        return False  # the terminal has gone, or stderr was closed: no concern of those who want bars
    return True


BOARD = Board()
