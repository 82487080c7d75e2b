"""A preset as its YAML defines it: its series, who serves them, what is declared, and defaults."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema, field_validator

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.facts import Anchor, SeriesFacts
from qmtl.foundation.sections import Section, Text
from qmtl.foundation.series import SeriesId
from qmtl.foundation.vendor_settings import SourceSettings
from qmtl.runtime.worlds.parts import LivePart, SeamlessPart, WindowPart

_SYMBOL, _TIMEFRAME = "{symbol}", "{timeframe}"

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)]


def _no_feed(value: object) -> None:
    if value is not None:
        raise InvalidRequestError(
            "a preset cannot name a live feed yet",
            why="this release brings no feed of an exchange",
            next_step="leave it out; in Python, hand a feed of your own over: `live=...`",
        )


class PresetDefinition(Section):
    """A named row of the profile table.

    preset: its name. series: node ids of its series, with `{symbol}` where the symbol stands, and
    `{timeframe}` where each world says the timeframe. vendor: who serves them where qmtl.yml names nobody.
    subject: under which their schema is registered; left out, `ohlcv.<venue>.<timeframe>`.
    """

    preset: Name
    meaning: str = ""
    series: Text
    vendor: SourceSettings | None = None
    feed: Annotated[None, BeforeValidator(_no_feed), WithJsonSchema({"type": "null"})] = None
    calendar: Text | None = None
    anchor: Anchor | None = None
    allow_nonpositive: bool | None = None
    has_volume: bool | None = None
    subject: Text | None = None
    window: WindowPart = WindowPart()
    seamless: SeamlessPart = SeamlessPart()
    live: LivePart = LivePart()

    @field_validator("series")
    @classmethod
    def _names_series(cls, template: str) -> str:
        if template.count(_SYMBOL) != 1:
            raise InvalidRequestError(
                f"{template!r} does not hold {_SYMBOL} once",
                next_step="write for example ohlcv:mine:{symbol}:1d",
            )
        series = template.replace(_SYMBOL, "X").replace(_TIMEFRAME, "1d")
        SeriesId.parse(series)
        if brace := re.search("[{}]", series):
            raise InvalidRequestError(
                f"{template!r} has a {brace[0]!r} that belongs to no field",
                next_step=f"write fields as {_SYMBOL} and {_TIMEFRAME}, and no other braces",
            )
        return template

    @property
    def facts(self) -> SeriesFacts:
        return SeriesFacts(self.calendar, self.anchor, self.allow_nonpositive, self.has_volume)

    @property
    def has_timeframe(self) -> bool:
        """Whether it names the timeframe, so that no world has to."""
        return _TIMEFRAME not in self.series

    @property
    def pattern(self) -> str:
        """A shell pattern of the node ids of its series."""
        return self.series.replace(_SYMBOL, "*").replace(_TIMEFRAME, "*")

    def series_of(self, symbol: str, timeframe: str | None) -> SeriesId:
        """The series of a symbol. Raises `InvalidRequestError` for what is no symbol."""
        return SeriesId.parse(self.series.replace(_TIMEFRAME, timeframe or "").replace(_SYMBOL, symbol))
