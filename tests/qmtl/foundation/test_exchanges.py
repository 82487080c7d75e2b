"""The table of exchanges is read whole: codes of ISO 10383 and ISO 3166, each exchange once."""

from __future__ import annotations

import re
from collections import defaultdict

import exchange_calendars
import pytest

from qmtl.foundation.exchanges import _TABLE, EXCHANGES


def test_every_line_of_the_table_is_one_exchange() -> None:
    lines = [line for line in _TABLE.splitlines() if line]
    assert len(EXCHANGES) == len(lines)
    for mic, exchange in EXCHANGES.items():
        assert re.fullmatch(r"[A-Z0-9]{4}", mic)
        assert re.fullmatch(r"[A-Z]{2}", exchange.code)
        for text in (exchange.name, exchange.country):
            assert text
            assert text == text.strip()
            assert "  " not in text


@pytest.mark.parametrize(
    ("mic", "name", "place"),
    [
        ("XNYS", "New York Stock Exchange", "United States (US)"),
        ("BVMF", "B3, Brasil Bolsa Balcao", "Brazil (BR)"),
        ("XBOM", "BSE, formerly Bombay Stock Exchange", "India (IN)"),
        ("XADS", "Abu Dhabi Securities Exchange", "United Arab Emirates (AE)"),
        ("XTKS", "Tokyo Stock Exchange", "Japan (JP)"),
        ("XLON", "London Stock Exchange", "United Kingdom (GB)"),
    ],
)
def test_an_exchange_and_its_place(mic: str, name: str, place: str) -> None:
    assert (EXCHANGES[mic].name, EXCHANGES[mic].place) == (name, place)


def test_a_country_has_one_code_and_a_code_one_country() -> None:
    codes, countries = defaultdict(set), defaultdict(set)
    for exchange in EXCHANGES.values():
        codes[exchange.country].add(exchange.code)
        countries[exchange.code].add(exchange.country)
    assert {country: found for country, found in codes.items() if len(found) > 1} == {}
    assert {code: found for code, found in countries.items() if len(found) > 1} == {}


def test_the_exchanges_above_the_empty_line_are_those_with_a_calendar() -> None:
    above, below = (
        {line.split()[0] for line in part.splitlines() if line} for part in _TABLE.strip().split("\n\n")
    )
    known = set(exchange_calendars.get_calendar_names(include_aliases=True))
    assert above <= known
    assert not below & known
