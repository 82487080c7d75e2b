"""What the doctor found of one thing."""

from __future__ import annotations

from typing import Literal, NamedTuple

Outcome = Literal["ok", "warn", "fail"]


class Check(NamedTuple):
    """One line of the doctor. `fix` is a command or a hint; empty where all is well."""

    subject: str
    outcome: Outcome
    detail: str
    fix: str = ""
