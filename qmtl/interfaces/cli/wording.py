"""What an error says of Python's options, in the words of a command: `partial_ok=True` is --partial-ok."""

from __future__ import annotations

import re
import shlex
from collections.abc import Container

# How errors write an option or a verb of the Python API; see `QmtlError`.
_OPTION = re.compile(r"`([a-z_]+)=([^`]*)`")
_VERB = re.compile(r"`([a-z]+)\(\.\.\.\)`")


def in_words_of(command: Container[str], text: str) -> str:
    """The text with the flags of a command whose parameters are called as `command` holds, quoted for shells.

    What is no parameter of the command can be set in qmtl.yml only, and is written as it stands there.
    """

    def flag(found: re.Match[str]) -> str:
        name, value = found[1], _unquoted(found[2])
        if name not in command:
            return f"{name}: {value.lower() if value in ('True', 'False') else value}".rstrip(": ")
        words = [f"--{name.replace('_', '-')}", *([shlex.quote(value)] if value not in ("", "True") else [])]
        return " ".join(words)

    return _VERB.sub(r"'qmtl \1'", _OPTION.sub(flag, text))


def _unquoted(value: str) -> str:
    """Without the quotes around all of it; those within belong to the value."""
    is_quoted = len(value) > 1 and value[0] in "'\"" and value[-1] == value[0]
    return value[1:-1] if is_quoted else value
