"""Messages between two processes: a length, then so many bytes. Only the standard library is imported."""

from __future__ import annotations

import struct
from typing import BinaryIO

_LENGTH = struct.Struct("=Q")


def send(to: BinaryIO, message: bytes) -> None:
    """Raises `BrokenPipeError` if nobody reads any more."""
    to.write(_LENGTH.pack(len(message)))
    to.write(message)
    to.flush()


def receive(source: BinaryIO) -> bytes:
    """The next message. Raises `EOFError` if the other side is gone."""
    (length,) = _LENGTH.unpack(_exactly(source, _LENGTH.size))
    return _exactly(source, length)


def _exactly(source: BinaryIO, length: int) -> bytes:
    message = source.read(length)
    if len(message) < length:
        raise EOFError("the other side of the pipe is gone")
    return message
