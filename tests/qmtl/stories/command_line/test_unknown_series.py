"""A series that nobody has is told with what is known: venues, symbols and timeframes of a like name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from qmtl.runtime.testing import SimulatedExchange

if TYPE_CHECKING:
    from tests.qmtl.command_line import CommandLine

DAY = ("2024-01-01", "2024-01-02")


@pytest.fixture
def at_binance(cli: CommandLine) -> Iterator[CommandLine]:
    with SimulatedExchange() as exchange:
        cli.config.write_text(
            "seamless:\n  vendors:\n"
            f"    - {{match: 'ohlcv:binance:*', kind: ccxt, exchange: binance, urls: '{exchange.url}'}}\n"
        )
        yield cli


@pytest.mark.parametrize(
    ("series", "words"),
    [
        ("ohlcv:binance:BTC/USD:1h", ("no symbol 'BTC/USD'", "did you mean BTC/USDT")),
        ("ohlcv:binance:BTCUSDT:1h", ("no symbol 'BTCUSDT'", "write 'BTC/USDT'")),
        ("ohlcv:binance:BTC/USDT:10m", ("no bars of 10m", "1m, 3m, 5m")),
    ],
)
def test_the_exchange_tells_what_it_has(at_binance: CommandLine, series: str, words: tuple[str, ...]) -> None:
    reported = at_binance.run("fetch", series, *DAY)
    assert reported.exit_code == 2, reported.output
    for word in (*words, series):
        assert word in reported.stderr


@pytest.mark.parametrize(
    ("venue", "near"), [("binanse", "binance"), ("Kraken", "kraken"), ("coinbse", "coinbase")]
)
def test_a_venue_of_a_like_name_is_named(cli: CommandLine, venue: str, near: str) -> None:
    for command, code in (("fetch", 3), ("backfill", 2)):
        reported = cli.run(command, f"ohlcv:{venue}:BTC/USDT:1h", *DAY)
        assert reported.exit_code == code, reported.output
        assert f"ccxt has no exchange {venue!r}" in reported.stderr
        assert f"did you mean {near}" in reported.stderr


def test_a_venue_of_ones_own_is_not_mistaken_for_an_exchange(cli: CommandLine) -> None:
    reported = cli.run("fetch", "ohlcv:mine:AAPL:1d", *DAY)
    assert reported.exit_code == 3
    assert "did you mean" not in reported.stderr


def test_settings_that_leave_an_exchange_out_say_the_entry_to_add(at_binance: CommandLine) -> None:
    reported = at_binance.run("fetch", "ohlcv:kraken:BTC/USD:1h", *DAY)
    assert reported.exit_code == 3
    assert "there are some for 'ohlcv:binance:*'" in reported.stderr
    assert "add {match: 'ohlcv:kraken:*', kind: ccxt, exchange: kraken}" in reported.stderr
