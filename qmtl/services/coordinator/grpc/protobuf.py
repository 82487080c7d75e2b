"""Messages in the wire format of Protocol Buffers, by the numbers of their fields.

The format: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterable

_VARINT, _FIXED_64, _BYTES, _FIXED_32 = 0, 1, 2, 5
_FIXED = {_FIXED_64: 8, _FIXED_32: 4}
_ALL_BITS = 2**64 - 1


def number(field: int, value: int) -> bytes:
    """A field of int64, enum or bool. A zero is left out, as is what has its default."""
    return _varint(field << 3 | _VARINT) + _varint(value & _ALL_BITS) if value else b""


def chosen_number(field: int, value: int) -> bytes:
    """As `number`, for a field of a `oneof`: which of them is there says something, even of a zero."""
    return _varint(field << 3 | _VARINT) + _varint(value & _ALL_BITS)


def nested(field: int, value: bytes) -> bytes:
    """A field of bytes, of text in UTF-8, or of another message."""
    return _varint(field << 3 | _BYTES) + _varint(len(value)) + value


def repeated(field: int, values: Iterable[bytes]) -> bytes:
    return b"".join(nested(field, value) for value in values)


class Message:
    """The fields of a message by their numbers; unknown ones do no harm. Half a message is a ValueError."""

    def __init__(self, raw: bytes) -> None:
        self._numbers: dict[int, int] = {}
        self._parts: dict[int, list[bytes]] = {}
        place, end = 0, len(raw)
        while place < end:
            tag, place = _read(raw, place)
            field, kind = tag >> 3, tag & 7
            if kind == _VARINT:
                self._numbers[field], place = _read(raw, place)
                continue
            if kind == _BYTES:
                size, place = _read(raw, place)
                self._parts.setdefault(field, []).append(raw[place : place + size])
            else:
                size = _FIXED.get(kind, end)
            place += size
            if place > end:
                raise ValueError(f"field {field} is longer than what it is in")

    def number(self, field: int) -> int:
        """Of int64, which may be negative."""
        value = self._numbers.get(field, 0)
        return value - 2**64 if value >= 2**63 else value

    def unsigned(self, field: int) -> int:
        return self._numbers.get(field, 0)

    def part(self, field: int) -> bytes:
        return self._parts.get(field, [b""])[-1]

    def text(self, field: int) -> str:
        return self.part(field).decode()

    def parts(self, field: int) -> list[bytes]:
        """Of a field that may be there several times."""
        return self._parts.get(field, [])

    def message(self, field: int) -> Message:
        return Message(self.part(field))

    def messages(self, field: int) -> list[Message]:
        return [Message(part) for part in self.parts(field)]


def _varint(value: int) -> bytes:
    return _SHORT[value] if value < len(_SHORT) else _encoded(value)


def _encoded(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


# Tags and lengths, of which a claim of many shards has a thousand.
_SHORT = [_encoded(value) for value in range(2**11)]


def _read(raw: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while place < len(raw) and shift < 70:
        part = raw[place]
        place += 1
        value |= (part & 127) << shift
        if part < 128:
            return value & _ALL_BITS, place
        shift += 7
    raise ValueError("a number has no end")
