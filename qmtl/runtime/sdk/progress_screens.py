"""Where progress can be drawn: a terminal, and a notebook without any widget."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib import import_module
from typing import TYPE_CHECKING, Any

from qmtl.foundation.words import counted

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

# Of many series at once, so many have a line; the others are counted.
MOST_LINES = 10


@dataclass(slots=True)
class Line:
    """One backfill on show: bars answered for, of bars asked for; a total of None is not known yet."""

    series: str
    done: int = 0
    total: int | None = None


class TerminalScreen:
    """Bars on the terminal behind stderr, gone when the work is done."""

    def __init__(self) -> None:
        self._shown: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def draw(self, lines: Sequence[Line]) -> None:
        shown = self._shown
        if shown is None:
            shown = self._shown = _progress()
            shown.start()
        rows = [(line.series, line.done, line.total) for line in lines[:MOST_LINES]]
        if len(lines) > MOST_LINES:
            rows.append((f"and {len(lines) - MOST_LINES:,} more series", 0, None))
        names = [name for name, _, _ in rows]
        for name in [name for name in self._tasks if name not in names]:
            shown.remove_task(self._tasks.pop(name))
        for name, done, total in rows:
            if name not in self._tasks:
                self._tasks[name] = shown.add_task(name, total=total)
            shown.update(self._tasks[name], completed=done, total=total)
        shown.refresh()

    def clear(self) -> None:
        if self._shown is not None:
            shown, self._shown, self._tasks = self._shown, None, {}
            shown.stop()


def _progress() -> Progress:
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

    # sys.stdout and sys.stderr stay what they are: they belong to the program, not to a thread of ours.
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        MofNCompleteColumn(),
        TextColumn("bars"),
        TimeRemainingColumn(),
        console=Console(stderr=True, emoji=False),
        transient=True,
        auto_refresh=False,
        redirect_stdout=False,
        redirect_stderr=False,
    )


def is_notebook() -> bool:
    """Whether IPython runs this process as the kernel of a notebook, which shows HTML."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


class NotebookScreen:
    """Bars of plain HTML in the output of the cell, gone when the work is done."""

    def __init__(self) -> None:
        self._handle: Any = None

    def draw(self, lines: Sequence[Line]) -> None:
        self._show({"text/html": lines_html(lines), "text/plain": lines_text(lines)})

    def clear(self) -> None:
        if self._handle is not None:
            self._show({"text/html": "", "text/plain": ""})
            self._handle = None

    def _show(self, shown: dict[str, str]) -> None:
        if self._handle is None:
            # Not a package that we need: it is there because it runs us.
            self._handle = import_module("IPython.display").display(shown, raw=True, display_id=True)
        else:
            self._handle.update(shown, raw=True)


def lines_html(lines: Sequence[Line]) -> str:
    """A bar a line; one that moves by itself where the total is not known yet."""
    rows = []
    for line in lines[:MOST_LINES]:
        bounds = "" if line.total is None else f" value='{line.done}' max='{max(line.total, 1)}'"
        rows.append(
            f"<tr><td style='text-align:left'>{escape(line.series)}</td>"
            f"<td><progress{bounds}></progress></td>"
            f"<td style='text-align:right'>{_amount(line)}</td></tr>"
        )
    if len(lines) > MOST_LINES:
        more = f"and {len(lines) - MOST_LINES:,} more series"
        rows.append(f"<tr><td style='text-align:left' colspan='3'>{more}</td></tr>")
    return f"<table style='color:inherit'>{''.join(rows)}</table>"


def lines_text(lines: Sequence[Line]) -> str:
    """For frontends that show no HTML."""
    return "\n".join(f"{line.series}: {_amount(line)}" for line in lines[:MOST_LINES])


def _amount(line: Line) -> str:
    return "asking" if line.total is None else f"{line.done:,} of {counted(line.total, 'bar')}"
