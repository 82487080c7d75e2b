"""The tables of a store in QuestDB: whose they are, whether they are as we made them, how far they are."""

from __future__ import annotations

import re
from collections.abc import Sequence

from qmtl.foundation.errors import InvalidRequestError, QmtlError, StoreCorruptError
from qmtl.foundation.frames import VALUES
from qmtl.runtime.io.questdb.known_tables import columns_of, names_of_tables
from qmtl.runtime.io.questdb.server import QuestDBServer, StatementError
from qmtl.runtime.io.questdb.wal import Progress, progress_of, settle
from qmtl.runtime.io.sql.catalogs import FIRST_PLACE
from qmtl.runtime.io.sql.chunks import Chunk

# Name and type of each column, and whether it is part of the key.
_COLUMNS = {
    "series": ("SYMBOL", True),
    "tx": ("LONG", True),
    **dict.fromkeys(VALUES, ("DOUBLE", False)),
    "ts": ("TIMESTAMP_NS", True),
}


class BarTable:
    """`NAME_bars`, and beside it `NAME_store`, whose only row says which catalog both belong to.

    store: what the names of its tables begin with. place: of the rows, as the catalog has it; the first has
    no number in its name.
    """

    def __init__(self, server: QuestDBServer, store: str, place: int = FIRST_PLACE) -> None:
        self.server, self.place = server, place
        self._store = store
        self._first = f"{store}_bars"
        self.name = self._first if place == FIRST_PLACE else f"{self._first}_{place:x}"
        self._owner = self.beside("store")

    def beside(self, end: str) -> str:
        """The name of another table or view of the same store."""
        return f"{self._store}_{end}"

    def at(self, place: int) -> BarTable:
        """That of another place."""
        return self if place == self.place else BarTable(self.server, self._store, place)

    def places(self) -> list[int]:
        """All places that have a table."""
        return [
            FIRST_PLACE if not end else int(end[1:], 16)
            for first, end in _tables_of_bars(self.server)
            if first == self._first
        ]

    def make_like(self, other: BarTable) -> None:
        """Make it empty, with the columns of another one, those of the desk included."""
        self.server.query(f"CREATE TABLE {self.name} (LIKE {other.name})")

    def copy(self, other: BarTable, chunks: Sequence[Chunk]) -> None:
        """Write rows of another one, as they are; they become visible some time later."""
        self.server.query(f"INSERT INTO {self.name} SELECT * FROM {other.name} WHERE {having(chunks)}")

    def count(self, chunks: Sequence[Chunk]) -> int:
        """How many rows of chunks it has."""
        found = self.server.query(f"SELECT count() FROM {self.name} WHERE {having(chunks)}")
        return int(found[0][0])

    def size_between(self, chunks: Sequence[Chunk]) -> int:
        """How many rows it has between the first and the last stamp of chunks, whosever they are."""
        found = self.server.query(f"SELECT count() FROM {self.name} WHERE {between(chunks)}")
        return int(found[0][0])

    def size(self) -> int:
        """How many rows it has."""
        return int(self.server.query(f"SELECT count() FROM {self.name}")[0][0])

    def drop(self) -> None:
        """Be gone, if it is there."""
        self.server.query(f"DROP TABLE IF EXISTS {self.name}")

    @property
    def statement(self) -> str:
        """What makes the table."""
        columns = ", ".join(
            f"{name} {'SYMBOL CAPACITY 4096' if kind == 'SYMBOL' else kind}"
            for name, (kind, _) in _COLUMNS.items()
        )
        return (
            f"CREATE TABLE IF NOT EXISTS {self.name} ({columns}) TIMESTAMP(ts) PARTITION BY MONTH WAL"
            " DEDUP UPSERT KEYS(ts, series, tx)"
        )

    def claim(self, store_id: str, *, is_new: bool, read_only: bool) -> None:
        """Make the tables for a new store; and refuse those of another one, or altered ones.

        is_new: whether the catalog has never named a row. Raises `InvalidRequestError` for tables of another
        catalog, `StoreCorruptError` where those of this one are gone or altered.
        """
        if is_new and not read_only:
            self._make(store_id)
        owner = self._read_owner()
        if owner is not None and owner != store_id:
            raise InvalidRequestError(
                f"the table {self.name} belongs to another catalog",
                why=f"it has the rows of store {owner}, and this catalog is store {store_id}",
                next_step="name the catalog that it belongs to, or other tables by &name=...",
            )
        if owner is None:
            raise self._unowned(store_id)
        self.check()

    def _unowned(self, store_id: str) -> QmtlError:
        """What to say where no table tells whose the rows are: dropped, or the name is another one."""
        why = f"the table {self._owner}, which says whose they are, is missing"
        for store in sorted({first.removesuffix("_bars") for first, _ in _tables_of_bars(self.server)}):
            if BarTable(self.server, store)._read_owner() == store_id:
                return InvalidRequestError(
                    f"the rows of this catalog are not in tables named {self._store}_...",
                    why=f"they are in those named {store}_...",
                    next_step=f"write &name={store} in the address",
                )
        if not self.places():
            return self._gone(
                f"{why}, and so are the rows", f"{self._owner_made(store_id)}; {self.statement}"
            )
        return StoreCorruptError(
            f"nobody can tell whose the table {self.name} is",
            path=self.server.address.shown,
            why=why,
            next_step=f"if it has the rows of this catalog: {self._owner_made(store_id)}; then `verify()`, "
            "which proves it: whatever other rows are, they are shown to nobody",
        )

    def _owner_made(self, store_id: str, number: str = "") -> str:
        row = f"SELECT '{store_id}' AS store_id{number} FROM long_sequence(1)"
        return f"CREATE TABLE {self._owner} AS ({row})"

    def claim_for_copy(self, store_id: str, number: int) -> bool:
        """Make the tables for a copy of a store, or find those of the same copy; whether it has made them.

        number: of the copy, which its catalog knows. Raises `InvalidRequestError` for tables of others.
        """
        is_new = self._read_owner() is None or not self._columns()
        if self._read_owner() is None:
            self._make(store_id, f", {number} AS copy_number")
        if self._read_owner("copy_number") != str(number):
            raise InvalidRequestError(
                f"the tables {self._owner} and {self.name} are there already, at {self.server.address.shown}",
                why=f"they are those of the store {self._read_owner()}, or of another copy of it",
                next_step="name other tables by &name=..., or drop both if nobody wants them",
            )
        self.server.query(self.statement)
        self.check()
        return is_new

    def _make(self, store_id: str, number: str = "") -> None:
        if self._read_owner() is None and self._columns():
            raise InvalidRequestError(
                f"the table {self.name} is of no store",
                why=f"there is no table {self._owner} beside it",
                next_step="name other tables by &name=...",
            )
        try:
            # One statement, so that of two catalogs at the same moment only one gets the name.
            self.server.query(self._owner_made(store_id, number))
        except StatementError:
            if self._read_owner() is None:
                raise
        if self._read_owner() == store_id:
            self.server.query(self.statement)

    def _read_owner(self, column: str = "store_id") -> str | None:
        try:
            found = self.server.query(f"SELECT {column} FROM {self._owner}")
        except StatementError as failure:
            if "table does not exist" in (failure.why or "") or f"Invalid column: {column}" in (
                failure.why or ""
            ):
                return None
            raise
        return str(found[0][0]) if found else None

    def _columns(self) -> dict[str, tuple[str, bool]]:
        """The columns that there are; none where there is no table."""
        found = columns_of(self.server, self.name, '"column", type, upsertKey')
        return {str(name): (str(kind), bool(key)) for name, kind, key in found or ()}

    def check(self) -> None:
        """Raise `StoreCorruptError` where the table is gone, or other than we made it."""
        found = self._columns()
        if not found:
            raise self._gone(f"the table {self.name} is missing")
        wrong = [
            f"{name} is {_words(found.get(name))}, and was made as {_words(made)}"
            for name, made in _COLUMNS.items()
            if found.get(name) != made
        ]
        if wrong:
            raise StoreCorruptError(
                f"the table {self.name} was altered",
                path=self.server.address.shown,
                why="; ".join(wrong[:3]),
                next_step="change it back, or bring it back from a backup of the server",
            )

    def _gone(self, why: str, made_by: str | None = None) -> StoreCorruptError:
        """made_by: the statements that make what is missing anew."""
        others = ", ".join(self.at(place).name for place in self.places() if place != self.place)
        anew = (
            "bring the tables back from a backup of the server; or, to go on without these rows, make them"
            f" anew: {made_by or self.statement}; then `verify(repair=True)`: its bars are asked for again"
        )
        elsewhere = f"make nothing anew: {others} may have its rows; bring back the catalog that names them"
        return StoreCorruptError(
            "the rows of the store are gone from QuestDB",
            path=self.server.address.shown,
            why=why,
            next_step=elsewhere if others else anew,
        )

    def progress(self) -> Progress:
        """How far the server is."""
        found = progress_of(self.server, self.name)
        if found is None:
            raise self._gone(f"the table {self.name} is missing")
        return found

    def settle(self) -> None:
        """Wait until all that was written by now can be read. Raises `StoreError` if that takes too long."""
        if not settle(self.server, self.name):
            raise self._gone(f"the table {self.name} is missing")


def _tables_of_bars(server: QuestDBServer) -> list[tuple[str, str]]:
    """The tables of bars of all stores: what each is named at its first place, and what its name has more."""
    found = [re.fullmatch(r"([a-z0-9_]+_bars)(|_[0-9a-f]{2,16})", name) for name in names_of_tables(server)]
    return [(match[1], match[2]) for match in found if match]


def having(chunks: Sequence[Chunk]) -> str:
    """As SQL: which rows are those of chunks; not too many at once."""
    numbers = ", ".join(map(str, dict.fromkeys(chunk.id for chunk in chunks)))  # parts of a chunk share it
    return f"{between(chunks)} AND tx IN ({numbers})"


def between(chunks: Sequence[Chunk]) -> str:
    """As SQL: which rows have stamps between those of chunks."""
    low, high = bounds(chunks)
    return f"ts BETWEEN {low} AND {high}"


def bounds(chunks: Sequence[Chunk]) -> tuple[int, int]:
    """The first and the last stamp of chunks that a table can hold: of a damaged entry they may be any."""
    return max(0, min(chunk.first_ts for chunk in chunks)), max(chunk.last_ts for chunk in chunks)


def quoted(text: str) -> str:
    """A text as a statement has it."""
    return "'" + text.replace("'", "''") + "'"


def _words(column: tuple[str, bool] | None) -> str:
    if column is None:
        return "missing"
    kind, is_key = column
    return f"{kind} in the key" if is_key else kind
