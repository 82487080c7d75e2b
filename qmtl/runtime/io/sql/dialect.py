"""What an engine must say in its own words; everything else in this folder is SQL that two engines share.

Statements of this folder have the placeholders `?`, `?1` and `:name`; an engine that writes them differently
translates them in its `execute`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Generator, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol, TypeVar

from qmtl.foundation.series import SeriesId
from qmtl.runtime.io.sql.chunks import RowsElsewhere

Answer = TypeVar("Answer")

# The end of what still holds: versions are valid at commit T if tx_from <= T < tx_to.
LIVE = 2**63 - 1

# The tables whose rows are versions, and how many a series has of each: what is counted beside its name.
VERSIONED = ("chunk", "hot", "answer")
COUNTS = ", ".join(
    f"(SELECT count(*) FROM {table} WHERE series = series_of.id AND tx_to = {LIVE})" for table in VERSIONED
)
# All of them together, those among them that hold no longer.
ALL_VERSIONS = " + ".join(
    f"(SELECT count(*) FROM {table} WHERE series = series_of.id)" for table in VERSIONED
)

# The columns that prove a row of the index, where an engine has no checksums of its own. Those named twice
# over, as text, are compared as bytes: damaged text cannot be decoded.
PROVEN = {
    "chunk": [
        "id",
        "series",
        "first_ts",
        "last_ts",
        "rows",
        "codec",
        "checksum",
        "tx_from",
        "tx_to",
        "bytes",
    ],
    "answer": [
        *("series", "tx_to", '"end"', "start", "tx_from"),
        *("text:said", "text:source", "checked_at", "expires_at"),
    ],
    "facts": ["series", "tx_from", "tx_to", "text:facts"],
    "series": ["id", "text:node", "chunks", "hot", "answers", "versions"],
    "tx": ["id", "committed_at", "text:kind", "text:writer", "series", "start", '"end"'],
    # The bytes of a single row prove themselves, see `single_rows`; what is proven here is where they lie.
    "hot": ["series", "tx_to", "ts", "tx_from", "over"],
    "pin": ["text:name", "tx", "as_of", "pinned_at"],
    "reason": ["tx", "text:reason"],
    "report": ["number", "series", "archived_at", "text:report"],
    "accepted": ["series", "text:rule", "start", '"end"', "text:fingerprint", "accepted_at"],
    "quarantine": [
        *("series", "ts", "open", "high", "low", "close", "volume"),
        *("text:rule", "text:source", "checked_at", "tx"),
    ],
    "lost": [
        *("series", "start", '"end"', "tx_from", "tx_to", "found_at", "text:why", "text:closed", "covers"),
    ],
    "setting": ["text:name", "value"],
    "identity": ["text:store_id"],
    "delivery": ["series", "tx_to", "ts", "tx_from", "delivered_at"],
    "fence": ["series", "shard", "token", "text:claim", "opened_at"],
    "kept_flags": ["series", "stretch", "rules", "start", '"end"', "reach_start", "reach_end", "flags"],
    "stream_session": ["text:id", "series", "opened_at", "ended_at", "ts", "tx"],
    "schema_decision": ["number", "text:subject", "text:decision"],
    "schema_observation": ["text:subject", "hour", "version", "checked", "failed"],
}

# What holds of every row, where none has a checksum. Room is made for as many rows as an entry says.
PLAUSIBLE = {
    "chunk": f"rows BETWEEN 1 AND {1 << 20}",
    "tx": 'start <= "end"',
    "kept_flags": 'start <= "end" AND reach_start <= reach_end',
}


class Cursor(Protocol):
    """What a statement has found or done."""

    @property
    def rowcount(self) -> int: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...
    def fetchmany(self, size: int = ..., /) -> list[Any]: ...
    def __iter__(self) -> Iterator[Any]: ...
    def close(self) -> None: ...


Values = Sequence[Any] | Mapping[str, Any]


class Question(NamedTuple):
    """A statement that reads, and its values."""

    sql: str
    values: Values = ()


class Expected(NamedTuple):
    """A question that finds one value, and the value without which nothing else is worth asking."""

    question: Question
    value: int

    def holds(self, connection: Connection) -> bool:
        """Whether it is as expected."""
        return bool(connection.execute(*self.question).fetchone()[0] == self.value)


class Telling(NamedTuple):
    """A statement whose rows answer other questions. told: these, each with the rows that it finds."""

    sql: str
    values: Values
    told: Callable[[Sequence[Any]], Iterable[tuple[Question, list[Any]]]]


class United(NamedTuple):
    """Questions that a server is asked by one statement: each of them has rows of its own.

    kinds: of the columns that each finds, a letter for each: n a bigint, i an integer, t a text, b bytes, ? a
    truth.
    """

    questions: Sequence[Question | Telling]
    kinds: tuple[str, ...]


Foreseen = Question | United


class NotForeseenError(Exception):
    """A question that was not among those which a read said were all; see `Database.reading`."""


class Connection(Protocol):
    """One connection to an engine, used by one thread at a time."""

    @property
    def dialect(self) -> Dialect: ...
    @property
    def now(self) -> int | None:
        """The time of the engine's own clock (ns), asked after the lock of `writing` was taken.

        None where the engine runs on this machine, so that its clock is the caller's.
        """
        ...

    @property
    def missing_behind(self) -> str:
        """Why commits behind the newest one may be missing here that somebody was told of; "" if none can."""
        ...

    @property
    def elsewhere(self) -> RowsElsewhere | None:
        """Where the bars of chunks lie; None where that is this database."""
        ...

    def execute(self, sql: str, values: Values = ..., /) -> Cursor: ...
    def survivable(self, sql: str, values: Values = ..., /) -> Cursor:
        """As `execute`; the transaction goes on where the statement meets damage, see `Dialect.is_damage`."""
        ...

    def executemany(self, sql: str, values: Iterable[Values], /) -> Cursor:
        """Execute a statement with each of the values, of which no two change the same row."""
        ...

    def queue(self, sql: str, values: Iterable[Values], /) -> None:
        """As `executemany`, for what nobody asks about. If it fails, the next statement does."""
        ...

    def each(self, sql: str, values: Sequence[Values], /) -> Iterator[Iterable[Any]]:
        """The rows that a query finds with each of the values, as `survivable`; a server is asked once.

        The values are taken one by one where an engine is no server: each may depend on rows before it.
        """
        ...

    def each_in_turn(
        self, sql: str, portions: Iterable[Sequence[Values]], /
    ) -> Generator[Iterable[Iterable[Any]], None, None]:
        """As `each` with each of some portions of values, in order.

        A server finds the next ones while the caller looks at one: nothing else is asked meanwhile, and
        whoever may want no more of them closes the iterator.
        """
        ...

    def batches(self, sql: str, size: int, /) -> Iterator[list[Any]]:
        """What a statement without values finds, so many rows at a time: no more of them are in memory."""
        ...

    def remembered(self, key: Hashable, find: Callable[[], Answer], /) -> Answer:
        """What `find` reads, or what it has read before if nothing was written since.

        In a transaction that only reads. A server would have to be asked for either, and `find` asks it.
        """
        ...


@dataclass(frozen=True, eq=False)
class Dialect:
    """The words of one engine.

    proof: an expression that proves columns, or NULL where the engine checks its pages itself.
    as_bytes: an expression for the bytes of a text column.
    same: the comparison that holds for two nulls as well.
    listed: a query that reads a JSON text, a list of lists, as a table: of the placeholder of the text, and
        of the names of the columns. They hold whole numbers, or texts where a name begins with "text:".
    number_in: an expression for a number at the top of a JSON text, of a column and a name.
    row_id: the number of a row, in tables that have no key.
    by_scan: what follows the name of a table whose rows are to be found without an index, or nothing.
    is_server: whether a statement is a trip to a server: many questions go together, and each has to say
        where it ends. Else rows are made one by one, as they are asked for.
    from_float, to_float: how the engine keeps a number that may be NaN.
    name: what people call the engine.
    inspected: what the engine itself finds damaged, in sentences.
    is_damage: whether an exception of the engine tells of damaged bytes.
    may_hide: whether any of some series that were not found by their names may be hidden by damage.
    rebuild: puts tables and indexes that damage has left out of order into order.
    checksum: what `proof` computes, of the values as Python writes a tuple of them; None as there.
    """

    proof: Callable[[Iterable[str]], str | None]
    as_bytes: Callable[[str], str]
    same: str
    listed: Callable[[str, Sequence[str]], str]
    number_in: Callable[[str, str], str]
    row_id: str
    by_scan: str
    is_server: bool
    from_float: Callable[[float | None], Any]
    to_float: Callable[[Any], float | None]
    name: str
    inspected: Callable[[Connection], Iterable[str]]
    is_damage: Callable[[Exception], bool]
    may_hide: Callable[[Connection, Collection[SeriesId]], bool]
    rebuild: Callable[[Connection], None]
    checksum: Callable[[bytes], int] | None = None

    @cached_property
    def proofs(self) -> dict[str, str]:
        """For each proven table, the checksum of a row, as SQL."""
        return {
            table: self.proof(self._column(name) for name in columns) or "NULL"
            for table, columns in PROVEN.items()
        }

    def columns(self, table: str) -> list[tuple[str, bool]]:
        """The proven columns of a table, and whether each is text."""
        return [(name.removeprefix("text:"), name.startswith("text:")) for name in PROVEN[table]]

    def _column(self, name: str) -> str:
        return self.as_bytes(name.removeprefix("text:")) if name.startswith("text:") else name

    @property
    def has_proofs(self) -> bool:
        """Whether rows have checksums; else all of them are taken for sound."""
        return self.proof(()) is not None

    @cached_property
    def sound(self) -> dict[str, str]:
        """For each proven table, whether a row is what was written, as SQL; else whether it makes sense."""
        return {
            table: PLAUSIBLE.get(table, "1 = 1") if proof == "NULL" else f"crc IS {proof}"
            for table, proof in self.proofs.items()
        }

    def proof_after(self, table: str, **changed: str) -> str:
        """The proof of a row as it is after `SET column = expression`."""
        proof = self.proofs[table]
        for column, value in changed.items():
            proof = re.sub(rf"(?<=[ (]){column}(?=[,)])", value, proof)
        return proof

    # Statements of the writer, whose texts are needed at each commit.

    @cached_property
    def entry(self) -> str:
        """Chunks of a series at a commit."""
        return (
            f"SELECT id, first_ts, last_ts, rows, codec, checksum, {self.sound['chunk']} FROM chunk"
            " WHERE series = :series AND @at"
        )

    @cached_property
    def records(self) -> str:
        """Coverage records of a series at a commit."""
        return (
            f'SELECT start, "end", said, source, checked_at, expires_at, {self.sound["answer"]} FROM answer'
            ' WHERE series = :series AND @at AND "end" > :start'
            f'{" AND start < :stop" if self.is_server else ""} ORDER BY "end"'
        )

    @cached_property
    def newest(self) -> str:
        return f"SELECT id, committed_at, {self.sound['tx']} FROM tx ORDER BY id DESC LIMIT 1"

    @cached_property
    def series_by_name(self) -> str:
        return f"SELECT id, hot, {self.sound['series']} FROM series WHERE node = ?"

    @cached_property
    def insert_chunk(self) -> str:
        columns = "id, series, first_ts, last_ts, rows, codec, checksum, tx_from, tx_to"
        return (
            f"INSERT INTO chunk ({columns}, bytes, crc) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, "
            f"{self.proof(f'?{n}' for n in range(1, 11)) or 'NULL'})"
        )

    @cached_property
    def retire_chunk(self) -> str:
        proof = self.proof_after("chunk", tx_to="?1")
        return f"UPDATE chunk SET tx_to = ?1, crc = {proof} WHERE id = ?2"

    @cached_property
    def insert_hot(self) -> str:
        """A single row; its bytes prove themselves."""
        return (
            "INSERT INTO hot (series, tx_to, ts, tx_from, over, crc, data)"
            f" VALUES (?1, ?2, ?3, ?4, ?5, {self.proof(f'?{n}' for n in range(1, 6)) or 'NULL'}, ?6)"
        )

    @cached_property
    def insert_delivery(self) -> str:
        return (
            "INSERT INTO delivery (series, tx_to, ts, tx_from, delivered_at, crc)"
            f" VALUES (?1, ?2, ?3, ?4, ?5, {self.proof(f'?{n}' for n in range(1, 6)) or 'NULL'})"
        )

    @cached_property
    def insert_record(self) -> str:
        values = [self.as_bytes(f"?{n}") if n in (6, 7) else f"?{n}" for n in range(1, 10)]
        return (
            "INSERT INTO answer"
            ' (series, tx_to, "end", start, tx_from, said, source, checked_at, expires_at, crc)'
            f" VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, {self.proof(values) or 'NULL'})"
        )

    @cached_property
    def retire_record(self) -> str:
        return (
            f"UPDATE answer SET tx_to = ?1, crc = {self.proof_after('answer', tx_to='?1')}"
            ' WHERE series = ?2 AND tx_to = ?3 AND "end" = ?4 AND start = ?5'
        )

    @cached_property
    def insert_flags(self) -> str:
        columns = 'series, stretch, rules, start, "end", reach_start, reach_end, flags'
        return (
            f"INSERT INTO kept_flags ({columns}, crc) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, "
            f"{self.proof(f'?{n}' for n in range(1, 9)) or 'NULL'})"
        )

    @cached_property
    def insert_commit(self) -> str:
        values = [self.as_bytes(f"?{n}") if n in (3, 4) else f"?{n}" for n in range(1, 8)]
        proof = self.proof(values) or "NULL"
        return (
            'INSERT INTO tx (id, committed_at, kind, writer, series, start, "end", crc)'
            f" VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, {proof})"
        )

    @cached_property
    def count_more(self) -> str:
        proof = self.proof_after(
            "series", chunks="chunks + ?1", hot="hot + ?2", answers="answers + ?3", versions="versions + ?4"
        )
        return (
            "UPDATE series SET chunks = chunks + ?1, hot = hot + ?2, answers = answers + ?3,"
            f" versions = versions + ?4, crc = {proof} WHERE id = ?5"
        )

    @cached_property
    def recount(self) -> str:
        """Count anew what each series has."""
        return (
            "UPDATE series AS series_of SET (chunks, hot, answers, versions) ="
            f" (SELECT {COUNTS}, {ALL_VERSIONS})"
        )
