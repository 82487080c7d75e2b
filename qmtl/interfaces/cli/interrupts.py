"""Ctrl-C reaches a main thread that waits for another one."""

from __future__ import annotations

import signal


def let_interrupts_through() -> None:
    """To be called once polars is loaded, from the main thread.

    Polars installs a handler of its own, under which the system goes on with an interrupted wait: Python
    would hear of Ctrl-C only when the wait ends by itself. The handler stays; only that habit goes.
    """
    signal.siginterrupt(signal.SIGINT, True)
