"""The directory of a store: what its connections see."""

from pathlib import Path

from qmtl.foundation.series import SeriesId
from qmtl.runtime.io.sql.commits import series_number
from qmtl.runtime.io.sql.sqlite.directory import StoreDirectory
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore

SERIES = SeriesId.parse("ohlcv:binance:BTC/USDT:1m")


def test_all_statements_of_a_read_see_the_same_commits(tmp_path: Path) -> None:
    # A series that was entered between two of them once passed for one that damage had hidden.
    with EmbeddedStore(tmp_path / "s") as store:
        store.open_fence(SeriesId.parse("ohlcv:binance:ETH/USDT:1m"), [0], "first")
        directory = StoreDirectory(tmp_path / "s", read_only=False, lock_timeout_s=1.0)
        with directory.reading() as connection:
            assert series_number(connection, SERIES) is None
            store.open_fence(SERIES, [0], "second")
            assert series_number(connection, SERIES) is None
        with directory.reading() as connection:
            assert series_number(connection, SERIES) == 2
        directory.close()


def test_whoever_writes_keeps_more_pages(tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path / "s"):
        directory = StoreDirectory(tmp_path / "s", read_only=False, lock_timeout_s=1.0)
        with directory.reading() as connection:
            assert connection.execute("PRAGMA cache_size").fetchone() == (-2000,)
        with directory.writing() as connection:
            assert connection.execute("PRAGMA cache_size").fetchone() == (-16384,)
        directory.close()
