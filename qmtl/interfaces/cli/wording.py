"""What an error says of Python's options, in the words of a command: `partial_ok=True` is --partial-ok."""

from __future__ import annotations

import re
from collections.abc import Container

# How errors write an option or a verb of the Python API; see `QmtlError`.
_OPTION = re.compile(r"`([a-z_]+)=([^`]*)`")
_VERB = re.compile(r"`([a-z]+)\(\.\.\.\)`")


def in_words_of(command: Container[str], text: str) -> str:
    """The text with the flags of a command whose parameters are called as `command` holds.

    What is no parameter of the command can be set in qmtl.yml only, and is written as it stands there.
    """

    def flag(found: re.Match[str]) -> str:
        name, value = found[1], found[2].strip("'\"")
        if name not in command:
            return f"{name}: {value.lower() if value in ('True', 'False') else value}".rstrip(": ")
        words = [f"--{name.replace('_', '-')}", *([value] if value not in ("", "True") else [])]
        return " ".join(words)

    return _VERB.sub(r"'qmtl \1'", _OPTION.sub(flag, text))
