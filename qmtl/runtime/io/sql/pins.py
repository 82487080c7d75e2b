"""Points in time that are pinned by name: compaction keeps what they show, however old."""

from __future__ import annotations

from typing import NamedTuple

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.times import iso
from qmtl.runtime.io.sql.commits import damaged_list
from qmtl.runtime.io.sql.dialect import Connection
from qmtl.runtime.io.store.values import Point

# Whether a pin still shows a version; `sweep` must leave it.
PINNED = "EXISTS (SELECT 1 FROM pin WHERE tx_from <= pin.tx AND pin.tx < tx_to)"


class Pin(NamedTuple):
    """A pinned commit: its number, its time and when it was pinned, in ns."""

    name: str
    tx: int
    as_of: int
    pinned_at: int


def listed(connection: Connection) -> list[Pin]:
    """All pins, by name."""
    found = connection.execute(
        f"SELECT name, tx, as_of, pinned_at, {connection.dialect.sound['pin']} FROM pin ORDER BY name"
    ).fetchall()
    if not all(is_sound for *_, is_sound in found):
        raise damaged_list("the list of pins")
    return [Pin(*pin) for *pin, _ in found]


def hold(connection: Connection, name: str, commit: Point, now: int) -> Pin:
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
        connection.execute("INSERT INTO pin (name, tx, as_of, pinned_at) VALUES (?, ?, ?, ?)", known)
    return known


def release(connection: Connection, name: str) -> Pin:
    """Remove a pin; what it alone kept goes with the next sweep."""
    pins = {pin.name: pin for pin in listed(connection)}
    if name not in pins:
        raise InvalidRequestError(
            f"there is no pin {name!r}",
            next_step=f"there are {', '.join(map(repr, pins))}" if pins else "there are none",
        )
    connection.execute("DELETE FROM pin WHERE name = ?", (name,))
    return pins[name]
