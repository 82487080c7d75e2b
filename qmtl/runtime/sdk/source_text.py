"""The source of a strategy, as Python finds it: one thread at a time.

Python finds a class by parsing its file, and Python 3.11 counts how deep it parses for all threads together:
of two that parse at once, one may fail with `SystemError` (https://github.com/python/cpython/issues/106905).
"""

from __future__ import annotations

import ast
import inspect
import threading
from pathlib import Path
from types import ModuleType

from blake3 import blake3

_one_at_a_time = threading.Lock()


def source_hash(of: type | ModuleType) -> str | None:
    """Of its source; None where Python has none."""
    try:
        with _one_at_a_time:
            source = inspect.getsource(of)
    except (OSError, TypeError):  # typed at a prompt, or made by a program
        return None
    return f"blake3:{blake3(source.encode()).hexdigest()}"


def parsed(path: Path) -> ast.Module:
    """The file of a program, parsed."""
    with _one_at_a_time:
        return ast.parse(path.read_bytes())
