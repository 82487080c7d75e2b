"""What is declared of a series: facts that its bars alone do not show."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from qmtl.foundation.errors import InvalidRequestError

Anchor = Literal["clock", "session"]


class OwnCalendar(str):
    """What a calendar object of the user's is called: shown, but never stored, for a store holds no code."""


@dataclass(frozen=True, slots=True)
class SeriesFacts:
    """Declared facts of one series. None is not declared, and then the default holds.

    calendar: `24x7` (the default), `FX`, a MIC such as `XNYS`, or the name of a calendar handed over in
        Python.
    anchor: whether intraday bars lie on the UTC clock (the default), or are counted from each session's open.
    allow_nonpositive: prices of zero and less are possible (WTI futures on 2020-04-20); false by default.
    has_volume: false if the source has no volumes; nulls are then no flaw. True by default.
    """

    calendar: str | None = None
    anchor: Anchor | None = None
    allow_nonpositive: bool | None = None
    has_volume: bool | None = None

    @classmethod
    def from_mapping(cls, values: dict[str, Any]) -> SeriesFacts:
        """From the keys of qmtl.yml or of the store. Raises `InvalidRequestError` for what is not a fact."""
        facts = cls(**values)
        if facts.anchor not in (None, "clock", "session"):
            raise InvalidRequestError(
                f"anchor {facts.anchor!r} is neither 'clock' nor 'session'", next_step="use one of them"
            )
        return facts

    def to_mapping(self) -> dict[str, Any]:
        """What is declared, by name; a default that somebody has written down is declared too."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    @property
    def storable(self) -> SeriesFacts:
        """What a store can keep of them."""
        return replace(self, calendar=None) if isinstance(self.calendar, OwnCalendar) else self

    @property
    def calendar_name(self) -> str:
        """As a receipt shows it."""
        return self.calendar or "24x7 (default)"


NOTHING_DECLARED = SeriesFacts()


def agreed(series: object, places: Iterable[tuple[str, SeriesFacts | None]]) -> SeriesFacts:
    """What several places declare together. Raises `InvalidRequestError`, with both, where two disagree."""
    together: dict[str, Any] = {}
    declared_by: dict[str, str] = {}
    for place, facts in places:
        for name, value in (NOTHING_DECLARED if facts is None else facts).to_mapping().items():
            if together.setdefault(name, value) != value:
                raise InvalidRequestError(
                    f"two declarations disagree about the {name} of a series",
                    series=series,
                    why=f"{declared_by[name]} says {together[name]!r}, {place} says {value!r}",
                    next_step=f"make them agree; to change the store: qmtl store declare {series} "
                    + _option(name, value),
                )
            declared_by.setdefault(name, place)
    return SeriesFacts(**together)


def _option(name: str, value: Any) -> str:
    """As the command line says it."""
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{flag}" if value else f"--no-{flag}"
    return f"--{flag} {value}"
