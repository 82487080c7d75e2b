"""What is declared of a series: facts that its bars alone cannot tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from qmtl.foundation.errors import InvalidRequestError

Anchor = Literal["clock", "session"]


@dataclass(frozen=True, slots=True)
class SeriesFacts:
    """Declared facts of one series; the defaults hold where nothing is declared.

    calendar: `24x7`, `FX`, a MIC such as `XNYS`, or the name of a calendar handed over in Python; None is
        `24x7 (default)`.
    anchor: whether intraday bars lie on the UTC clock, or are counted from each session's open.
    allow_nonpositive: prices of zero and less are possible (WTI futures on 2020-04-20).
    has_volume: False if the source has no volumes; nulls are then no flaw.
    """

    calendar: str | None = None
    anchor: Anchor = "clock"
    allow_nonpositive: bool = False
    has_volume: bool = True

    @classmethod
    def from_mapping(cls, values: dict[str, Any]) -> SeriesFacts:
        """From the keys of qmtl.yml or of the store. Raises `InvalidRequestError` for what is not a fact."""
        facts = cls(**values)
        if facts.anchor not in ("clock", "session"):
            raise InvalidRequestError(f"anchor {facts.anchor!r} is neither 'clock' nor 'session'")
        return facts

    @property
    def calendar_name(self) -> str:
        """As a receipt shows it."""
        return self.calendar or "24x7 (default)"
