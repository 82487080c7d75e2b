"""One connection of HTTP/2 (RFC 9113) as its client sees it: what came in, to what is answered and goes out.

One request at a time, whose answer is one of gRPC. Both sides keep no table of headers, so that the same
headers are the same bytes each time: they are put together once, and read once.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote

from hpack import Decoder, Encoder, HPACKError

_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PUSH_PROMISE, _PING, _GOAWAY, _WINDOW_UPDATE, _CONTINUATION = (
    *(0, 1, 3, 4, 5),
    *(6, 7, 8, 9),
)
_ACK = _END_STREAM = 1
_END_HEADERS, _PADDED, _PRIORITY = 4, 8, 32
_HEADER_TABLE_SIZE, _ENABLE_PUSH, _INITIAL_WINDOW_SIZE, _MAX_HEADER_LIST_SIZE = 1, 2, 4, 6
_FRAME_HEAD = 9
# The greatest frame that may be sent to who has allowed no greater ones. Neither side does so here.
_MOST_IN_FRAME = 2**14
# What may be on the way to who has said nothing else.
_FIRST_WINDOW = 2**16 - 1
_WIDEST_WINDOW = 2**31 - 1
# After so many bytes the other side is told that there is room for as many more.
_ROOM = 2**30
_LAST_STREAM = 2**31 - 1


class NotHTTP2Error(Exception):
    """The other side says what no server of gRPC says."""


class GivenUpError(Exception):
    """There will be no answer; what was asked may have been done."""


class Answer(NamedTuple):
    """Of a call: gRPC's status, 0 for success, and its words; the bytes of the message answered, if any."""

    status: int
    why: str
    message: bytes


class ClientConnection:
    """Gives its bytes in `taken`, which its owner sends after each call of a method."""

    def __init__(self) -> None:
        settings = {
            _HEADER_TABLE_SIZE: 0,
            _ENABLE_PUSH: 0,
            _INITIAL_WINDOW_SIZE: _WIDEST_WINDOW,
            _MAX_HEADER_LIST_SIZE: _MOST_IN_FRAME,
        }
        self._out = [
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            _frame(_SETTINGS, 0, 0, b"".join(struct.pack(">HI", *pair) for pair in settings.items())),
            _frame(_WINDOW_UPDATE, 0, 0, (_WIDEST_WINDOW - _FIRST_WINDOW).to_bytes(4, "big")),
        ]
        # etcd pings during each call, to see how wide its window should be; it waits for no answer, and one
        # that is sent by itself costs a third of a call. So it goes with what is sent next.
        self._pongs: list[bytes] = []
        self._unread = b""
        self._was_greeted = False
        self._is_leaving = False
        self._last = -1
        # The stream that is to be answered; 0 while there is none.
        self._stream = 0
        self._received = 0
        # What may be sent: of the connection, of a new stream, and of this stream; and what waits for that.
        self._window, self._first_window, self._stream_window = _FIRST_WINDOW, _FIRST_WINDOW, 0
        self._unsent = b""
        self._body: list[bytes] = []
        self._answer: Answer | None = None

    @property
    def takes_more(self) -> bool:
        """Whether another request may be made, once the one before is answered."""
        return not self._is_leaving and self._last + 2 <= _LAST_STREAM

    def taken(self) -> bytes:
        """What is to be sent; it is not given again."""
        if not self._out:
            return b""
        out = b"".join(self._out + self._pongs)
        self._out, self._pongs = [], []
        return out

    def ask(self, headers: bytes, message: bytes) -> None:
        """headers: see `request_headers`."""
        self._last += 2
        self._stream = self._last
        self._stream_window = self._first_window
        self._body, self._answer = [], None
        self._out.append(_frame(_HEADERS, _END_HEADERS, self._stream, headers))
        self._unsent = b"\0" + len(message).to_bytes(4, "big") + message  # not compressed
        self._send()

    def receive(self, data: bytes) -> Answer | None:
        """The answer, once it is whole. After `NotHTTP2Error` and `GivenUpError` nothing more will come."""
        data = self._unread + data
        place = 0
        while len(data) - place >= _FRAME_HEAD:
            size, kind = int.from_bytes(data[place : place + 3], "big"), data[place + 3]
            if size > _MOST_IN_FRAME or not (self._was_greeted or kind == _SETTINGS):
                raise NotHTTP2Error(f"it said {data[place : place + 24]!r}")
            end = place + _FRAME_HEAD + size
            if end > len(data):
                break
            stream = int.from_bytes(data[place + 5 : place + _FRAME_HEAD], "big") & _LAST_STREAM
            self._take(kind, data[place + 4], stream, data[place + _FRAME_HEAD : end])
            place = end
        self._unread = data[place:]
        answer, self._answer = self._answer, None
        return answer

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == _DATA:
            self._take_data(flags, stream, payload)
        elif kind == _HEADERS:
            self._take_headers(flags, stream, payload)
        elif kind == _WINDOW_UPDATE:
            self._widen(stream, int.from_bytes(payload, "big") & _WIDEST_WINDOW)
        elif kind == _PING and not flags & _ACK:
            (self._pongs if self._stream else self._out).append(_frame(_PING, _ACK, 0, payload))
        elif kind == _SETTINGS and not flags & _ACK:
            self._take_settings(payload)
        elif kind == _RST_STREAM and self._is_asked(stream):
            raise GivenUpError(
                f"it gave the request up, with code {int.from_bytes(payload, 'big')} of HTTP/2"
            )
        elif kind == _GOAWAY:
            self._is_leaving = True
            if self._stream > int.from_bytes(payload[:4], "big") & _LAST_STREAM:
                raise GivenUpError("it takes no more requests on this connection")
        elif kind in (_PUSH_PROMISE, _CONTINUATION):
            raise NotHTTP2Error(f"it sent a frame of kind {kind}, which it was told not to")

    def _is_asked(self, stream: int) -> bool:
        return stream == self._stream != 0

    def _take_data(self, flags: int, stream: int, payload: bytes) -> None:
        self._received += len(payload)
        if self._received >= _ROOM:
            self._out.append(_frame(_WINDOW_UPDATE, 0, 0, self._received.to_bytes(4, "big")))
            self._received = 0
        if not self._is_asked(stream):
            return
        self._body.append(_unpadded(flags, payload))
        if flags & _END_STREAM:
            raise GivenUpError("its answer ended without a status")

    def _take_headers(self, flags: int, stream: int, payload: bytes) -> None:
        if not flags & _END_HEADERS:
            raise NotHTTP2Error("its headers are longer than it was told that they may be")
        if not self._is_asked(stream):
            return
        block = _unpadded(flags, payload)
        headers = _read(block[5:] if flags & _PRIORITY else block)
        if headers.get(":status", "200") != "200":
            raise NotHTTP2Error(f"it answered HTTP {headers[':status']}")
        if not flags & _END_STREAM:
            return
        status = headers.get("grpc-status", "")
        if not status.isdecimal():
            raise NotHTTP2Error("its answer ended without a status of gRPC")
        whole = b"".join(self._body)
        size = int.from_bytes(whole[1:5], "big")
        if whole and (whole[0] or len(whole) < 5 + size):
            raise NotHTTP2Error("its answer is compressed, or not whole")
        if self._unsent:  # a refusal, before all was asked; the rest is not wanted here any more
            self._is_leaving, self._unsent = True, b""
        self._stream = 0
        self._answer = Answer(int(status), unquote(headers.get("grpc-message", "")), whole[5 : 5 + size])

    def _take_settings(self, payload: bytes) -> None:
        self._was_greeted = True
        for place in range(0, len(payload) - 5, 6):
            name, value = struct.unpack_from(">HI", payload, place)
            if name == _INITIAL_WINDOW_SIZE:
                self._stream_window += value - self._first_window
                self._first_window = value
        self._out.append(_frame(_SETTINGS, _ACK, 0, b""))
        self._send()

    def _widen(self, stream: int, by: int) -> None:
        if stream == 0:
            self._window += by
        elif stream == self._stream:
            self._stream_window += by
        self._send()

    def _send(self) -> None:
        """As much of the request as there is room for."""
        while self._unsent:
            size = min(len(self._unsent), self._window, self._stream_window, _MOST_IN_FRAME)
            if size <= 0:
                return
            part, self._unsent = self._unsent[:size], self._unsent[size:]
            self._window -= size
            self._stream_window -= size
            self._out.append(_frame(_DATA, 0 if self._unsent else _END_STREAM, self._stream, part))


@lru_cache(maxsize=256)
def request_headers(scheme: str, host: str, path: str) -> bytes:
    """Of a call of gRPC (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md)."""
    fields = {
        ":method": "POST",
        ":scheme": scheme,
        ":path": path,
        ":authority": host,
        "te": "trailers",
        "content-type": "application/grpc",
    }
    # What is sensitive goes into no table.
    return Encoder().encode([(name, value, True) for name, value in fields.items()])


@lru_cache(maxsize=256)
def _read(block: bytes) -> Mapping[str, str]:
    decoder = Decoder()
    decoder.max_allowed_table_size = decoder.header_table_size = 0
    try:
        return {str(name): str(value) for name, value in decoder.decode(block)}
    except HPACKError as error:
        raise NotHTTP2Error(f"its headers cannot be read: {error}") from error


def _unpadded(flags: int, payload: bytes) -> bytes:
    return payload[1 : len(payload) - payload[0]] if flags & _PADDED and payload else payload


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return b"%b%c%c%b%b" % (len(payload).to_bytes(3, "big"), kind, flags, stream.to_bytes(4, "big"), payload)
