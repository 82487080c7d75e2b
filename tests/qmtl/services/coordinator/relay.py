"""Stands between a worker and a coordinator, and loses what it is told to lose."""

from __future__ import annotations

import re
import socket
from enum import Enum
from urllib.parse import urlsplit

from tests.qmtl.tcp_proxy import Direction, TcpProxy

_BEGINS = re.compile(rb"(?:GET|POST) (\S+) HTTP/1.1\r\n")


class Lose(Enum):
    NOTHING = "nothing"
    ANSWER = "the answer: what was asked has been done"
    REQUEST = "the request: nothing has been done"


class Relay:
    """`losing` holds for requests to come; one that is lost has its connection closed. seen: their paths."""

    def __init__(self, url: str) -> None:
        port = urlsplit(url).port
        assert port is not None
        self._proxy = TcpProxy(port)
        self._proxy.passes = self._passes
        self.url = self._proxy.url(url)
        self.lose = Lose.NOTHING
        self.times = 0  # how many more are lost
        self.seen: list[str] = []

    def losing(self, lose: Lose, times: int) -> None:
        self.lose, self.times = lose, times

    def close(self) -> None:
        self._proxy.close()

    def _passes(self, direction: Direction, piece: bytes, source: socket.socket) -> int | None:
        """Of the next `times` requests, the first piece of them or of their answers is the last."""
        begins = _BEGINS.match(piece) if direction == "up" else None
        if begins is not None:
            self.seen.append(begins[1].decode())
        is_lost = begins is not None if self.lose is Lose.REQUEST else direction == "down"
        if not self.times or self.lose is Lose.NOTHING or not is_lost:
            return None
        self.times -= 1
        return 0
