"""What a copy would answer otherwise than its store is found, and named."""

from __future__ import annotations

import itertools
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.errors import StoreCorruptError
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.times import EARLIEST, LATEST
from qmtl.runtime.io.sql import copying, packed_copies
from qmtl.runtime.io.sql.dialect import Connection
from qmtl.runtime.io.sql.same_answers import windows
from qmtl.runtime.io.sql.single_rows import Stored, pack_single, unpack_single
from qmtl.runtime.sdk.store_copy import copy_store
from qmtl.runtime.testing.store_model import SERIES
from qmtl.runtime.testing.store_suites.bars import OTHER
from tests.qmtl.runtime.io.sql.copies import (
    is_store,
)


@pytest.mark.parametrize(
    ("statement", "match"),
    [
        (
            "UPDATE hot SET data = (SELECT data FROM hot AS b WHERE b.ts > hot.ts LIMIT 1) WHERE ts = 0",
            "damaged",
        ),
        (
            'UPDATE answer SET "end" = "end" + 60000000000',
            "differs from the store at the pin 'paper': in what was answered",
        ),
        ("DELETE FROM hot WHERE ts = 0", "damaged"),
        ("UPDATE facts SET facts = '{}'", "at the newest commit: in what is declared of it"),
        ("DELETE FROM chunk WHERE id = 2", "damaged"),
    ],
)
def test_what_a_copy_would_answer_otherwise_is_found(
    stored: str,
    target: str,
    script: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    statement: str,
    match: str,
) -> None:
    """Something goes wrong in the target after it was written."""
    with script.opened(stored) as store:
        store.declare(SERIES, SeriesFacts(calendar="XNYS"))

    def spoilt(connection: Connection) -> int:
        connection.execute(statement)
        for table in ("hot", "answer", "facts"):
            if (proof := connection.dialect.proofs[table]) != "NULL":
                connection.execute(f"UPDATE {table} SET crc = {proof}")
        return packed_copies.read_back(connection)

    monkeypatch.setattr(copying, "read_back", spoilt)
    with pytest.raises(StoreCorruptError, match=match) as found:
        copy_store(stored, target)
    assert found.value.series
    assert not is_store(target)


def test_another_value_of_one_bar_is_found(stored: str, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all checksums right, so that nothing but the comparison can see it."""

    def spoilt(connection: Connection) -> int:
        number, tx, data = connection.execute("SELECT series, tx_from, data FROM hot WHERE ts = 0").fetchone()
        rows, _ = unpack_single(number, [Stored(0, tx, data)])
        (other,) = pack_single(rows._replace(close=rows.close + 1e-9), number, tx)
        connection.execute("UPDATE hot SET data = ? WHERE ts = 0", (other,))
        return packed_copies.read_back(connection)

    monkeypatch.setattr(copying, "read_back", spoilt)
    with pytest.raises(StoreCorruptError, match="at the pin 'paper': in its rows") as found:
        copy_store(stored, target)
    assert found.value.series == str(OTHER)
    assert found.value.span is not None
    assert not is_store(target)


@given(st.dictionaries(st.integers(-500, 500), st.integers(1, 90), max_size=60), st.integers(1, 200))
def test_ranges_hold_all_of_time_and_a_bounded_number_of_rows(pieces: dict[int, int], most: int) -> None:
    ends = sorted(pieces)
    weights = [pieces[end] for end in ends]
    found = list(windows((np.array(ends, dtype=np.int64), np.array(weights, dtype=np.int64)), most))
    assert [found[0].start, found[-1].end] == [EARLIEST, LATEST]
    assert all(one.end == other.start for one, other in itertools.pairwise(found))
    for span in found:
        within = [pieces[end] for end in ends if span.start < end <= span.end]
        assert sum(within) <= most or len(within) == 1
        assert within or not pieces
    assert len(found) <= max(1, 2 * sum(weights) // most + 1)
