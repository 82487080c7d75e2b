"""Blocking work of the store, kept off the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

Args = TypeVarTuple("Args")
T = TypeVar("T")


async def in_thread(function: Callable[[*Args], T], *args: *Args) -> T:
    """The result of `function(*args)`, run by the loop's own executor."""
    return await asyncio.get_running_loop().run_in_executor(None, function, *args)
