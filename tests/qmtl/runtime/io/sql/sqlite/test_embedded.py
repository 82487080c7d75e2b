"""The embedded store keeps every promise of a store."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.testing.store_suite import StoreSuite


class TestEmbeddedStore(StoreSuite):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[EmbeddedStore]:
        with EmbeddedStore(tmp_path / "store") as store:
            yield store
