"""The number of a chunk in a copy: its own, or one that is made of the store and of the rows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from qmtl.runtime.io.sql.chunk_numbers import number_there
from qmtl.runtime.io.sql.copied_tables import columns_of

PLAIN, ELSEWHERE = SimpleNamespace(elsewhere=None), SimpleNamespace(elsewhere=object())


def entry(**changed: Any) -> list[Any]:
    known = {"id": 7, "series": 1, "checksum": b"of bytes", **changed}
    return [known.get(name, 0) for name in columns_of("chunk")]


def number(row: list[Any], *, store: str = "store", source: Any = PLAIN, target: Any = ELSEWHERE) -> int:
    side: Any = SimpleNamespace(database=SimpleNamespace(store_id=store), connection=source)
    return number_there(side, target, row)


def test_among_databases_it_stays_and_so_does_one_that_comes_from_elsewhere() -> None:
    assert number(entry(), target=PLAIN) == 7
    assert number(entry(), source=ELSEWHERE, target=PLAIN) == 7
    assert number(entry(), source=ELSEWHERE) == 7


def test_elsewhere_it_is_of_these_rows_alone_and_the_same_each_time() -> None:
    mine = number(entry())
    assert number(entry(tx_from=3, tx_to=9)) == mine, "whatever becomes of the version"
    others = [
        number(entry(id=8)),
        number(entry(series=2)),
        number(entry(checksum=b"of others")),
        number(entry(), store="another"),
    ]
    assert len({mine, *others}) == 5
    assert all(1 <= one <= 1 << 62 for one in (mine, *others))
