"""The garbage collector, kept from looking through everything while many objects are made at once."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """Make many objects that all stay, without a look at all that the program holds in between.

    Garbage in cycles waits until the end; whatever is let go without a cycle is freed at once. A collector
    that is off already stays off.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
