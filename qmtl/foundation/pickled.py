"""Pickles of answers name the version that wrote them, and a version that reads another form refuses them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qmtl.foundation.base_error import WRITER, Made, made


def pickled(make: Callable[..., Made], *parts: object) -> tuple[Callable[..., Made], tuple[Any, ...]]:
    """For `__reduce__`: the pickle calls `make(*parts)`, once its writer is known to be understood.

    make: a function or class that can be imported. parts: what it is called with; each can be pickled.
    """
    return made, (WRITER, make, *parts)
