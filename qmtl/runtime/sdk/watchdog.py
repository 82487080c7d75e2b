"""Ends a strategy that never returns."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import polars as pl

from qmtl.foundation.errors import InvalidRequestError
from qmtl.runtime.replay.budget import OverBudget


def check_budget(budget: object) -> None:
    """Raise `InvalidRequestError` for what is no number of seconds."""
    is_number = isinstance(budget, int | float) and not isinstance(budget, bool)
    if budget is not None and not (is_number and 0 < budget < threading.TIMEOUT_MAX):  # type: ignore[operator]
        raise InvalidRequestError(
            f"budget={budget!r} cannot be used", next_step="give seconds, more than 0, or leave it out"
        )


@contextmanager
def watched(budget: float | None, progress: Callable[[], object]) -> Iterator[None]:
    """Raise `OverBudget` in this thread once `progress()` has stayed the same for `budget` seconds.

    Python raises it between two of its steps: a call into C that never returns is not ended. Up to twice the
    budget may pass until then.
    """
    if budget is None:
        yield
        return
    thread, done, lock = threading.get_ident(), threading.Event(), threading.Lock()

    def watch() -> None:
        before = progress()
        while not done.wait(budget):
            now = progress()
            with lock:
                if now == before and not done.is_set():
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(
                        ctypes.c_ulong(thread), ctypes.py_object(OverBudget)
                    )
            before = now

    watcher = threading.Thread(target=watch, name="qmtl-budget", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        with lock:
            done.set()
        watcher.join()
        # One that was sent at the very end is raised here: Python looks for it at each turn of a loop. It is
        # not taken back instead: Python 3.11 would look for it for ever, and hang once something traces it.
        for _ in range(_TURNS):
            pass


# More than Python needs to notice.
_TURNS = 100


class Calls:
    """How many windows functions of nodes were given: each of them is progress."""

    def __init__(self) -> None:
        self.count = 0

    def counted(self, nodes: Mapping[str, Any]) -> dict[str, Any]:
        """The nodes, their functions with a count of calls."""
        return {
            name: node if isinstance(node, pl.Expr) else self._counted(node) for name, node in nodes.items()
        }

    def _counted(self, function: Callable[[pl.DataFrame], Any]) -> Callable[[pl.DataFrame], Any]:
        def called(window: pl.DataFrame) -> Any:
            self.count += 1
            return function(window)

        return called
