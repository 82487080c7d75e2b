"""Progress bars on stderr, for whatever takes longer than people wait without a word."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.progress import Progress

    from qmtl.runtime.ingest.backfill_result import Progress as Backfilled

# Work that is done before this many seconds shows no bar.
PATIENCE_S = 0.5


class Bars:
    """A context manager; shows one bar per name, once the work has taken `PATIENCE_S`.

    Nothing is drawn where stderr is no terminal.
    """

    def __init__(self) -> None:
        self._counts: dict[str, tuple[int, int | None]] = {}
        self._tasks: dict[str, int] = {}
        self._shown: Progress | None = None
        self._over = False
        self._guard = threading.Lock()
        self._timer = threading.Timer(PATIENCE_S, self._start)
        self._timer.daemon = True

    def advance(self, name: str, done: int, total: int | None) -> None:
        """`done` of `total` units; may be called from any thread. A total of None is not known yet."""
        with self._guard:
            self._counts[name] = done, total
            if self._shown is not None:
                self._draw(self._shown, name)

    def backfilled(self, progress: Backfilled) -> None:
        """For `on_progress` of a fetch or a backfill."""
        if progress.lost is not None:
            self.note(f"{progress.series}: {progress.lost}")
        self.advance(f"{progress.series} bars", progress.done, progress.total)

    def note(self, line: str) -> None:
        """A line above the bars; nothing, where none are shown."""
        with self._guard:
            if self._shown is not None:
                self._shown.console.print(line, markup=False, highlight=False)

    def _start(self) -> None:
        # What draws is loaded once there is somebody to draw for: most commands end before.
        drawn = _drawn()
        with self._guard:
            if self._over:
                return
            for name in self._counts:
                self._draw(drawn, name)
            drawn.start()
            self._shown = drawn

    def _draw(self, drawn: Progress, name: str) -> None:
        done, total = self._counts[name]
        if name not in self._tasks:
            self._tasks[name] = drawn.add_task(name, total=total)
        drawn.update(self._tasks[name], completed=done, total=total)  # type: ignore[arg-type]  # TaskID is an int

    def __enter__(self) -> Self:
        if sys.stderr is not None and sys.stderr.isatty():
            self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        with self._guard:
            self._over = True
            if self._shown is not None:
                self._shown.stop()


def _drawn() -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True, emoji=False),
        transient=True,
    )
