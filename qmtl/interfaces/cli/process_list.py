"""Passwords of addresses on our command line, taken out of what the list of processes shows of it."""

from __future__ import annotations

import sys
from pathlib import Path

_PROCESS = Path("/proc/self")
# Of the words of `stat` behind the name of the program: where its command line begins and ends in memory.
_BEGINS, _ENDS = 45, 46


def hide_passwords() -> None:
    """Do so where the kernel lets a process write its own command line; elsewhere everybody can read it.

    `sys.argv` keeps them, for it is a copy.
    """
    if not any("://" in word for word in sys.argv[1:]):
        return
    try:
        shown = (_PROCESS / "cmdline").read_bytes()
        numbers = (_PROCESS / "stat").read_text().rpartition(")")[2].split()
        begins, ends = int(numbers[_BEGINS]), int(numbers[_ENDS])
        with (_PROCESS / "mem").open("r+b", buffering=0) as memory:
            memory.seek(begins)
            memory.write(b"\0".join(_as_long(word) for word in shown.split(b"\0"))[: ends - begins])
    except OSError:
        return  # no such file system, as on macOS, or it is closed to us, as in some containers


def _as_long(word: bytes) -> bytes:
    """A word without what is secret in it; in as many bytes, for those behind it stay where they are."""
    return without_password(word.decode(errors="replace")).encode()[: len(word)].ljust(len(word), b"\0")


def without_password(word: str) -> str:
    """A word of a command line, which may be an address or have one behind its `=`."""
    before, sign, rest = word.partition("://")
    if not sign:
        return word
    from qmtl.foundation.errors import InvalidRequestError
    from qmtl.foundation.server_addresses import server_named

    scheme = before.rpartition("=")[2]
    try:
        address = server_named(f"{scheme}://{rest}")
    except InvalidRequestError:  # whoever wanted to use it says so
        address = None
    if address is not None:
        return address.redacted(word)
    return f"{before}://..." if "@" in rest else word
