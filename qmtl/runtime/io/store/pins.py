"""Points in time that are held by name: compaction keeps what they show, however old."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.times import iso
from qmtl.runtime.io.store.schema import FORMAT_WITH_PINS, format_of

# A version that a pin still shows; `sweep` must leave it.
HELD = "EXISTS (SELECT 1 FROM pin WHERE tx_from <= pin.tx AND pin.tx < tx_to)"


class Pin(NamedTuple):
    """A held commit: its number, its time and when it was pinned, in ns."""

    name: str
    tx: int
    as_of: int
    pinned_at: int


def listed(connection: sqlite3.Connection) -> list[Pin]:
    """All pins, by name."""
    if format_of(connection) < FORMAT_WITH_PINS:
        return []  # opened read-only, and so not brought up to date
    return [
        Pin(*row) for row in connection.execute("SELECT name, tx, as_of, pinned_at FROM pin ORDER BY name")
    ]


def at(connection: sqlite3.Connection, as_of: int) -> tuple[int, int] | None:
    """Number and time of the commit that is pinned at exactly this time, if one is."""
    return next(((pin.tx, pin.as_of) for pin in listed(connection) if pin.as_of == as_of), None)


def hold(connection: sqlite3.Connection, name: str, commit: tuple[int, int], now: int) -> Pin:
    """Pin a commit. Raises `InvalidRequestError` if there is none, or the name holds another."""
    tx, as_of = commit
    if not name.strip():
        raise InvalidRequestError("a pin needs a name", next_step="give one such as backtest-2024")
    if not tx:
        raise InvalidRequestError(
            f"there is nothing to pin as {name!r}",
            why="nothing had been committed by then",
            next_step="give a later time; `qmtl store info` tells the newest commit",
        )
    known = next((pin for pin in listed(connection) if pin.name == name), None)
    if known is not None and known.tx != tx:
        raise InvalidRequestError(
            f"the pin {name!r} holds another commit",
            why=f"it holds that of {iso(known.as_of)}, and {iso(as_of)} is asked for",
            next_step=f"take another name, or first: qmtl store unpin {name}",
        )
    if known is None:
        known = Pin(name, tx, as_of, now)
        connection.execute("INSERT INTO pin VALUES (?, ?, ?, ?)", known)
    return known


def release(connection: sqlite3.Connection, name: str) -> Pin:
    """Let go of a pin; what it alone held goes with the next sweep."""
    pins = {pin.name: pin for pin in listed(connection)}
    if name not in pins:
        raise InvalidRequestError(
            f"there is no pin {name!r}",
            next_step=f"there are {', '.join(map(repr, pins))}" if pins else "there are none",
        )
    connection.execute("DELETE FROM pin WHERE name = ?", (name,))
    return pins[name]
