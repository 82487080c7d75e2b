"""Which exchanges the installed ccxt knows, without loading it."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from qmtl.foundation.errors import MissingDependencyError


@lru_cache(maxsize=1)
def ccxt_exchanges() -> frozenset[str]:
    """The ids of all exchanges that the installed ccxt knows, without the seconds that loading it takes.

    Raises `MissingDependencyError` if it is not installed.
    """
    spec = find_spec("ccxt")
    if spec is None or spec.origin is None:
        raise MissingDependencyError("ccxt", extra="ccxt")
    modules = (Path(spec.origin).parent / "async_support").glob("*.py")
    return frozenset(module.stem for module in modules) - {"__init__"}
