"""A list in QuestDB of the chunks that hold, beside their rows; and the view of the rows that it names.

Entries are only added: that a chunk holds, and that it holds no longer. What one process adds has all that
changed since a commit that the list was complete for. So whoever comes first or twice, the list is always
that of one commit.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.frames import VALUES
from qmtl.runtime.io.questdb.known_tables import names_of_tables
from qmtl.runtime.io.questdb.server import StatementError
from qmtl.runtime.io.questdb.table import BarTable, quoted
from qmtl.runtime.io.store.values import Point

# Entries that are sent in one transaction at most, of a new list, which nobody reads before it is complete.
_AT_ONCE = 50_000


class ChunkList:
    """One list, in a table whose name has its number; `table` is any of the tables of bars of the store."""

    def __init__(self, table: BarTable, number: int) -> None:
        self._server, self.number = table.server, number
        self.name = f"{table.beside('accepted')}_{number:x}"

    @staticmethod
    def all_of(table: BarTable) -> list[ChunkList]:
        """All that there are."""
        first = f"{table.beside('accepted')}_"
        names = names_of_tables(table.server)
        ends = [name.removeprefix(first) for name in names if name.startswith(first)]
        return [ChunkList(table, int(end, 16)) for end in ends if re.fullmatch("[0-9a-f]{1,16}", end)]

    def make(self) -> None:
        self._server.query(
            f"CREATE TABLE {self.name} (ts TIMESTAMP_NS, commit LONG, tx LONG, retired BOOLEAN)"
            " TIMESTAMP(ts) PARTITION BY YEAR WAL"
        )

    def drop(self) -> None:
        self._server.query(f"DROP TABLE IF EXISTS {self.name}")

    def add(self, at: Point, accepted: Sequence[int], retired: Sequence[int]) -> None:
        """Add entries, with which the list is that of a commit."""
        import pandas as pd  # with the client, for those who write

        numbers = np.array([*retired, *accepted], dtype=np.int64)
        frame = pd.DataFrame(
            {
                "commit": np.full(numbers.size, at.tx, dtype=np.int64),
                "tx": numbers,
                "retired": np.arange(numbers.size) < len(retired),
                "ts": np.full(numbers.size, at.as_of, dtype=np.int64).view("datetime64[ns]"),
            }
        )
        for first in range(0, len(frame), _AT_ONCE):
            self._server.send_frame(self.name, frame.iloc[first : first + _AT_ONCE])

    def newest(self) -> Point | None:
        """The commit that it is complete for; None where it is not there, or was made by somebody else."""
        try:
            found = self._server.query(f"SELECT commit, ts::long, retired FROM {self.name} LIMIT -1")
        except StatementError as failure:
            if re.search("table does not exist|Invalid column", failure.why or ""):
                return None
            raise
        return Point(*found[0][:2]) if found else None

    def commits(self) -> list[Point]:
        """The commits of its entries, by time."""
        each = f"SELECT DISTINCT commit, ts::long AS at FROM {self.name}"
        found = self._server.query(f"{each} ORDER BY at, commit")
        return [Point(*one) for one in found]

    def rows_since(self, bars: BarTable, first: Point) -> dict[int, int]:
        """How many rows each chunk has that an entry names of that commit, or of a later one."""
        named = f"SELECT DISTINCT tx FROM {self.name} WHERE ts >= {first.as_of} AND NOT retired"
        found = self._server.query(f"SELECT b.tx, count() FROM {bars.name} b JOIN ({named}) a ON a.tx = b.tx")
        return {int(number): int(rows) for number, rows in found}


class RowsView:
    """The view of the rows whose chunks hold."""

    def __init__(self, table: BarTable) -> None:
        self._server = table.server
        self.name = table.beside("current")
        self._lists = table.beside("accepted")

    def shows(self, bars: BarTable, chunks: ChunkList) -> bool:
        return self._text() == _query(bars, chunks)

    def show(self, bars: BarTable, chunks: ChunkList) -> None:
        """Give the rows of a table that a list names. Raises `InvalidRequestError` where it is not ours."""
        there, wanted = self._text(), _query(bars, chunks)
        if there == wanted:
            return
        if there is not None and self._lists not in there:
            raise InvalidRequestError(
                f"there is a view {self.name} in QuestDB that somebody else has made",
                why="this name is that of the view of the bars that hold",
                next_step=f"rename it, or DROP VIEW {self.name}; the next commit makes ours",
            )
        self._server.query(f"CREATE OR REPLACE VIEW {self.name} AS ({wanted})")

    def _text(self) -> str | None:
        found = self._server.query(f"SELECT view_sql FROM views() WHERE view_name = {quoted(self.name)}")
        return str(found[0][0]) if found else None


def _query(bars: BarTable, chunks: ChunkList) -> str:
    values = ", ".join(f"b.{name}" for name in ("series", "ts", *VALUES))
    named = f"SELECT tx, sum(retired::int) AS ends FROM {chunks.name}"
    return (
        f"SELECT {values} FROM {bars.name} b JOIN (SELECT tx FROM ({named}) WHERE ends = 0) a ON b.tx = a.tx"
    )
