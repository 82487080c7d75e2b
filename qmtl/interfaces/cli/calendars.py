"""`qmtl calendars`: the calendars that a series can be declared to follow."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

import typer

from qmtl.interfaces.cli.session import JsonToo, session_of


class Line(NamedTuple):
    """One calendar. first, last: the dates of its sessions, both included; None where it cannot be built."""

    calendar: str
    also: tuple[str, ...]
    exchange: str
    country: str
    zone: str
    first: str | None
    last: str | None
    why: str | None

    def fits(self, word: str) -> bool:
        """Whether a word names this calendar, or stands in one of its columns."""
        if len(word) == 2:  # the code of a country; as a part of names it would fit nearly all
            return word.upper() in (self.calendar, *self.also) or f"({word.upper()})" in self.country
        columns = (self.calendar, *self.also, self.exchange, self.country, self.zone)
        return any(word.casefold() in column.casefold() for column in columns)

    def to_json(self) -> dict[str, Any]:
        return {**self._asdict(), "also": list(self.also), "can_be_built": self.why is None}


# What comes with this package, and has no first and no last session.
OWN = (
    Line("24x7", (), "a venue that never closes (the default)", "", "UTC", None, None, None),
    Line("FX", (), "currencies, Sunday 17:00 to Friday 17:00", "", "America/New_York", None, None, None),
)


def calendars(
    ctx: typer.Context,
    word: Annotated[
        str | None,
        typer.Argument(
            metavar="WORD", help="Those with this name, exchange, country or zone.", show_default=False
        ),
    ] = None,
    json: JsonToo = False,
) -> None:
    """The calendars that there are: exchange, country, sessions."""
    from qmtl.foundation.errors import InvalidRequestError
    from qmtl.foundation.schedules import library_version, schedules
    from qmtl.interfaces.cli.tables import Rows

    session = session_of(ctx)
    found = [line for line in _lines(word) if word is None or line.fits(word)]
    if not found:
        raise InvalidRequestError(
            f"no calendar fits {word!r}",
            why=f"exchange_calendars {library_version()} knows {len(schedules().names.calendars)} exchanges",
            next_step="'qmtl calendars' lists all; a calendar of your own can be handed over in Python",
        )
    columns = ("calendar", "also", "exchange", "country", "zone", "first", "last", "can it be built")
    rows = (
        (
            line.calendar,
            " ".join(line.also),
            line.exchange,
            line.country,
            line.zone,
            line.first or "",
            line.last or "",
            f"no: {line.why}" if line.why else "yes",
        )
        for line in found
    )
    session.show(Rows(columns, rows, prose=("also", "exchange", "can it be built")))
    session.emit([line.to_json() for line in found])


def _lines(word: str | None) -> list[Line]:
    """Every calendar, or the one that `word` is the exact name of."""
    from qmtl.foundation.schedules import schedules
    from qmtl.interfaces.cli.progress import Bars

    names = schedules().names
    exact = None if word is None else names.aliases.get(word.upper(), word.upper())
    if exact in names.calendars:
        return [_line(exact)]
    lines = list(OWN)
    # The first call after an update of the library computes them all; what is computed is kept.
    with Bars() as bars:
        for number, name in enumerate(sorted(names.calendars)):
            bars.advance("calendars", number, len(names.calendars))
            lines.append(_line(name))
    return lines


def _line(name: str) -> Line:
    from qmtl.foundation.exchanges import EXCHANGES
    from qmtl.foundation.schedules import schedules
    from qmtl.foundation.times import iso

    found, exchange = schedules().summary(name), EXCHANGES.get(name)
    also = tuple(sorted(alias for alias, of in schedules().names.aliases.items() if of == name))
    what = (exchange.name, exchange.place) if exchange else ("", "")
    first, last = (None if date is None else iso(date) for date in (found.first, found.last))
    return Line(name, also, *what, found.zone or "", first, last, found.why)
