"""What a column holds, by its name: as programs write it, the surest names first."""

from __future__ import annotations

import itertools

import pytest

from qmtl.runtime.io.bar_files.look.names import NAMES, place_of, plain, rank_of


@pytest.mark.parametrize(
    ("name", "as_compared"),
    [("<OPEN>", "open"), (" Adj Close ", "adj_close"), ("trade-date", "trade_date"), ("Vol.", "vol")],
)
def test_case_blanks_and_brackets_do_not_count(name: str, as_compared: str) -> None:
    assert plain(name) == as_compared


@pytest.mark.parametrize(
    ("name", "role", "rank"),
    [
        ("Open", "open", 0),
        ("bid_open", "open", 1),
        ("Close", "close", 0),
        ("Last", "close", 1),
        ("Adj Close", "close", 2),
        ("Volume BTC", "volume", 1),
        ("quantity", "volume", 2),
        ("Schlusskurs", "close", 0),
        ("收盘价", "close", 0),
        ("Close Time", "ts", 1),
        ("Open", "close", None),
        ("openness", "open", None),
    ],
)
def test_how_sure_a_name_is(name: str, role: str, rank: int | None) -> None:
    assert rank_of(name, role) == rank


def test_no_name_stands_for_two_roles() -> None:
    words = {role: {word for line in lines for word in line.split()} for role, lines in NAMES.items()}
    shared = {(a, b): words[a] & words[b] for a, b in itertools.combinations(words, 2)}
    assert {pair: both for pair, both in shared.items() if both} == {}


def test_each_name_is_written_as_it_is_compared() -> None:
    lines = itertools.chain.from_iterable(NAMES.values())
    assert [word for line in lines for word in line.split() if plain(word) != word] == []


def test_the_column_that_an_option_names() -> None:
    names = ["Date", "date", "Open", ""]
    assert place_of("date", names) == 1  # as it is written
    assert place_of("OPEN", names) == 2  # in another case, where one alone fits
    assert place_of("DATE", names) is None
    assert place_of("column 4", names) == 3
    assert place_of("column 5", names) is None
    assert place_of("column 0", names) is None
