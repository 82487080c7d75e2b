"""Progress bars on stderr, for whatever takes longer than people wait without a word."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Self

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

if TYPE_CHECKING:
    from qmtl.runtime.coordination.backfill import Progress as Backfilled

# Work that is done before this many seconds shows no bar.
PATIENCE_S = 0.5


class Bars:
    """A context manager; shows one bar per name, once the work has taken `PATIENCE_S`.

    Nothing is drawn where stderr is no terminal.
    """

    def __init__(self) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True, emoji=False),
            transient=True,
        )
        self._tasks: dict[str, int] = {}
        self._guard = threading.Lock()
        self._over = self._shown = False
        self._timer = threading.Timer(PATIENCE_S, self._start)
        self._timer.daemon = True

    def advance(self, name: str, done: int, total: int | None) -> None:
        """`done` of `total` units; may be called from any thread. A total of None is not known yet."""
        with self._guard:
            if name not in self._tasks:
                self._tasks[name] = self._progress.add_task(name, total=total)
            self._progress.update(self._tasks[name], completed=done, total=total)  # type: ignore[arg-type]  # TaskID is an int

    def backfilled(self, progress: Backfilled) -> None:
        """For `on_progress` of a fetch or a backfill."""
        self.advance(f"{progress.series} bars", progress.done, progress.total)

    def _start(self) -> None:
        with self._guard:
            if not self._over and self._progress.console.is_terminal:
                self._progress.start()
                self._shown = True

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        with self._guard:
            self._over = True
            if self._shown:
                self._progress.stop()
