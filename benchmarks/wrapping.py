"""Functions of the package with something around them, for as long as somebody looks."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

Wrap = Callable[[str, Callable[..., Any]], Callable[..., Any]]


@contextmanager
def wrapping(paths: Iterable[str], wrap: Wrap) -> Iterator[None]:
    """Put `wrap(path, function)` in the place of each function; afterwards all are as before.

    paths: `module:function` or `module:Class.method`, as the modules that call them know them.
    """
    with ExitStack() as undo:
        for path in paths:
            module, _, name = path.partition(":")
            owner: Any = importlib.import_module(module)
            *owners, attribute = name.split(".")
            for one in owners:
                owner = getattr(owner, one)
            plain = getattr(owner, attribute)
            undo.callback(setattr, owner, attribute, plain)
            setattr(owner, attribute, wrap(path, plain))
        yield
