"""Packed bytes are copied once, and proven on their way and at their place."""

from __future__ import annotations

from types import ModuleType

import pytest

from qmtl.foundation.errors import StoreCorruptError
from qmtl.runtime.io.sql import copying, packed_copies
from qmtl.runtime.io.sql.dialect import Connection
from qmtl.runtime.io.store.values import Write
from qmtl.runtime.sdk.store_copy import copy_store
from qmtl.runtime.testing.store_model import SERIES
from qmtl.runtime.testing.store_suites.bars import some_bars
from tests.qmtl.runtime.io.sql.copies import (
    contents,
    interrupt,
    is_store,
)


def test_chunks_that_were_replaced_between_two_attempts_are_copied_anew(
    stored: str, target: str, script: ModuleType
) -> None:
    """Their numbers may be given to others, once a compaction has swept them."""
    with pytest.raises(KeyboardInterrupt):
        copy_store(stored, target, progress=interrupt("chunks"))
    with script.opened(stored) as store, store._database.writing() as connection:
        connection.execute("DELETE FROM blob")
        connection.execute("DELETE FROM chunk")
        connection.execute("DELETE FROM hot")
        connection.execute("UPDATE series SET chunks = 0, hot = 0, versions = answers")
        proof = connection.dialect.proofs["series"]
        connection.execute(f"UPDATE series SET crc = {proof}")
        connection.execute("COMMIT")
    with script.opened(stored) as store:
        store.commit(SERIES, Write("v", 1, some_bars(0, 9_000, price=5.0)))
        before = contents(store)
    assert copy_store(stored, target).resumed == 0
    with script.opened(target) as copy:
        assert contents(copy) == before


def test_packed_bytes_that_did_not_arrive_are_found(
    stored: str, target: str, script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoilt(connection: Connection) -> int:
        connection.execute("UPDATE blob SET data = ? WHERE chunk = 1", (b"other bytes",))
        return packed_copies.read_back(connection)

    monkeypatch.setattr(copying, "read_back", spoilt)
    with pytest.raises(StoreCorruptError, match="chunk 1 do not match their checksum") as found:
        copy_store(stored, target)
    assert found.value.series == str(SERIES)
    assert not is_store(target)
