"""A few rows by PostgreSQL's protocol, as QuestDB speaks it: plain numbers, on connections that stay open.

An export is a file, for which a connection is opened each time: it takes one of few places at the server as
long as its connection is open. Of a thousand bars both take longer than the rows.

https://www.postgresql.org/docs/current/protocol-message-formats.html
"""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

import numpy as np

from qmtl.runtime.io.store.rows import Rows

# How long a connection and an answer may take.
_REACHED_S, _PATIENCE_S = 5.0, 60.0
_VERSION = 3 << 16
# The types of a text and of a whole number, and that all values are binary.
_TEXT, _LONG = 1043, 20
_BINARY = struct.pack(">hh", 1, 1)
_LENGTH = struct.Struct(">i")
_RECEIVED = 1 << 18
# One row: what it is, its length, its columns, and of each the length and the bits. As QuestDB has no numbers
# of other lengths in these columns, all rows are alike, but those without a volume.
_ROW = np.dtype(
    [
        ("tag", "u1"),
        ("size", ">i4"),
        ("fields", ">i2"),
        ("columns", [("size", ">i4"), ("bits", ">i8")], (len(Rows._fields),)),
    ]
)
_SIZE = _ROW.itemsize - 1
_NULL = _LENGTH.pack(-1)
_NAN = _LENGTH.pack(8) + struct.pack(">d", float("nan"))


class WireError(Exception):
    """The server refuses the user, or what it answers makes no sense."""


def question(sql: str, values: Sequence[str | int] = ()) -> bytes:
    """What asks for the rows of a statement, in binary. values: those of its `$1`, `$2` and so on.

    QuestDB keeps what it has made of a text: the next one that is the same but for its values is answered in
    half the time.
    """
    types = struct.pack(
        f">h{len(values)}i", len(values), *(_TEXT if isinstance(value, str) else _LONG for value in values)
    )
    given = [value.encode() if isinstance(value, str) else struct.pack(">q", value) for value in values]
    bound = b"".join(_LENGTH.pack(len(value)) + value for value in given)
    return b"".join(
        (
            _message(b"P", b"\0" + sql.encode() + b"\0" + types),
            _message(b"B", b"\0\0" + _BINARY + struct.pack(">h", len(values)) + bound + _BINARY),
            _message(b"E", b"\0\0\0\0\0"),
            _message(b"S", b""),
        )
    )


def greeting(user: str) -> bytes:
    """What opens a connection."""
    said = b"".join(text.encode() + b"\0" for text in ("user", user, "database", "qdb"))
    body = _LENGTH.pack(_VERSION) + said + b"\0"
    return _LENGTH.pack(len(body) + 4) + body


def _message(tag: bytes, body: bytes) -> bytes:
    return tag + _LENGTH.pack(len(body) + 4) + body


class Walk(NamedTuple):
    """How far an answer was looked through. at: after its last whole message.

    first, last: where its rows are. why: what the server says against it. is_over: whether it is ready again.
    """

    at: int = 0
    first: int = 0
    last: int = 0
    why: str | None = None
    is_over: bool = False


def walked(answer: bytearray, so_far: Walk) -> Walk:
    """Look through what came since. Raises `WireError` for what is no answer."""
    at, first, last, why, _ = so_far
    while len(answer) - at >= 5:
        tag = answer[at : at + 1]
        if tag == b"D" and (plain := _plain_rows(answer, at)):
            first, last = first or at, at + plain
            at = last
            continue
        (size,) = _LENGTH.unpack_from(answer, at + 1)
        if size < 4:
            raise WireError(f"a message of {size} bytes")
        end = at + 1 + size
        if end > len(answer):
            break
        if tag == b"D":
            first, last = first or at, end
        elif tag == b"E":
            why = _reason(bytes(answer[at + 5 : end]))
        at = end
        if tag == b"Z":
            return Walk(at, first, last, why, True)
    return Walk(at, first, last, why)


def _plain_rows(answer: bytearray, at: int) -> int:
    """How many bytes of rows that lack no number begin there."""
    rows = np.frombuffer(answer, _ROW, (len(answer) - at) // _ROW.itemsize, at)
    plain = (rows["tag"] == ord("D")) & (rows["size"] == _SIZE)
    count = len(plain) if plain.all() else int(plain.argmin())
    return count * _ROW.itemsize


def _reason(body: bytes) -> str:
    fields = {part[:1]: part[1:].decode(errors="replace") for part in body.split(b"\0") if part}
    return fields.get(b"M", "it gives no reason")


def fill(rows: bytes, target: Rows) -> bool:
    """Put rows of an answer into `target`, bit by bit; False where they are not as many, or not of bars."""
    if len(rows) != target.size * _ROW.itemsize:
        rows = _with_volumes(rows)
    if not target.size or len(rows) != target.size * _ROW.itemsize:
        return False
    found = np.frombuffer(rows, _ROW)
    columns = found["columns"]
    is_plain = (found["tag"] == ord("D")) & (found["size"] == _SIZE) & (found["fields"] == len(target))
    if not is_plain.all() or not (columns["size"] == 8).all():
        return False
    for number, room in enumerate(target):
        room.view(np.int64)[:] = columns["bits"][:, number]
    return True


def _with_volumes(rows: bytes) -> bytes:
    """Rows with a NaN for the last number where it is missing."""
    parts, at = [], 0
    while at < len(rows):
        end = at + 1 + _LENGTH.unpack_from(rows, at + 1)[0]
        row = rows[at:end]
        if len(row) == _ROW.itemsize - 8 and row.endswith(_NULL):
            row = b"".join((row[:1], _LENGTH.pack(_SIZE), row[5:-4], _NAN))
        parts.append(row)
        at = end
    return b"".join(parts)


class Wire:
    """Connections to one server, for any thread. Raises `OSError` or `WireError` for whatever fails."""

    def __init__(self, host: str, port: int, user: str, password: str) -> None:
        self._where, self._user, self._password = (host, port), user, password
        self._lock = threading.Lock()
        # Those that nobody uses now, and the process that has opened them.
        self._idle: list[socket.socket] = []
        self._process = os.getpid()

    def ask(self, sql: str, values: Sequence[str | int] = ()) -> bytes | None:
        """The rows of a statement with values, as they came; None where the server refuses it."""
        asked, kept = question(sql, values), self._kept()
        if kept is not None:
            # What the server has closed meanwhile is opened anew.
            with suppress(ConnectionError):
                return self._asked(kept, asked)
        return self._asked(self._opened(), asked)

    def close(self) -> None:
        """Close the connections that are kept."""
        while (connection := self._kept()) is not None:
            connection.close()

    def _kept(self) -> socket.socket | None:
        with self._lock:
            if self._process != os.getpid():  # those of the parent stay the parent's
                self._process, self._idle = os.getpid(), []
            return self._idle.pop() if self._idle else None

    def _opened(self) -> socket.socket:
        connection = socket.create_connection(self._where, timeout=_REACHED_S)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(greeting(self._user))
            # Of 9 bytes, unless it refuses at once or wants something else.
            first = _exactly(connection, 9)
            if first == _message(b"R", _LENGTH.pack(3)):
                connection.sendall(_message(b"p", self._password.encode() + b"\0"))
            elif first != _message(b"R", _LENGTH.pack(0)):
                raise WireError("it asks for a login of another kind, or refuses the user")
            _, refusal = _received(connection)
            if refusal is not None:
                raise WireError(refusal)
            connection.settimeout(_PATIENCE_S)
        except BaseException:
            connection.close()
            raise
        return connection

    def _asked(self, connection: socket.socket, asked: bytes) -> bytes | None:
        try:
            connection.sendall(asked)
            rows, refusal = _received(connection)
        except BaseException:
            connection.close()
            raise
        with self._lock:
            self._idle.append(connection)
        return rows if refusal is None else None


def _received(connection: socket.socket) -> tuple[bytes, str | None]:
    """The rows of an answer, all of which was read; and why the server refuses, if it does."""
    answer, walk = bytearray(), Walk()
    while not walk.is_over:
        part = connection.recv(_RECEIVED)
        if not part:
            if walk.why is not None:
                raise WireError(walk.why)
            raise ConnectionError("the server has closed the connection")
        answer += part
        walk = walked(answer, walk)
    return bytes(answer[walk.first : walk.last]), walk.why


def _exactly(connection: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        part = connection.recv(count - len(found))
        if not part:
            raise ConnectionError("the server has closed the connection")
        found += part
    return found
