"""Arguments at the door: a value of a wrong kind is refused with its name, and with what to give."""

from __future__ import annotations

from os import PathLike
from reprlib import repr as shortly
from typing import Any

from qmtl.foundation.errors import InvalidRequestError


def check_kind(name: str, value: object, kind: Any, give: str) -> None:
    """Raise `InvalidRequestError` for what is neither of a kind nor None."""
    if value is not None and not isinstance(value, kind):
        raise unusable(name, value, f"give {give}, or leave it out")


def check_flag(name: str, value: object) -> None:
    """Raise `InvalidRequestError` for what is neither true nor false."""
    if not isinstance(value, bool):
        raise unusable(name, value, "give True or False")


def check_file(name: str, value: object) -> None:
    """Raise `InvalidRequestError` for what names no file, and is not None."""
    check_kind(name, value, str | PathLike, "the path of a file")
    if value == "":
        raise unusable(name, value, "give the path of a file, or leave it out")


def unusable(name: str, value: object, next_step: str) -> InvalidRequestError:
    """To say of an argument; of a long value only how it begins."""
    return InvalidRequestError(f"{name}={shortly(value)} cannot be used", next_step=next_step)
