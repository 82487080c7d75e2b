"""Which media type a client wants, and what follows from the method HEAD (RFC 9110, 12.5.1 and 9.3.2)."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qmtl.services.http.wording import Refuse

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_RANGE = re.compile(rf"({_TOKEN})/({_TOKEN})")
_QUALITY = re.compile(r"q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)", re.IGNORECASE)


def preferred(accept: str, offered: Sequence[str]) -> str | None:
    """The type that is wanted most among those that are `offered`, the best first; None where none fits.

    accept: the value of the header; empty, every type is welcome. The most specific range that fits a type
    gives its weight; parameters of a range are ignored. What is no range fits no type.
    """
    ranges = [found for part in accept.split(",") if (found := _range(part)) is not None]
    if not accept.strip():
        return offered[0]
    weights = {kind: _weight(kind, ranges) for kind in offered}
    best = max(offered, key=lambda kind: weights[kind])
    return best if weights[best] > 0 else None


def _range(part: str) -> tuple[str, float] | None:
    kind, *parameters = (piece.strip() for piece in part.split(";"))
    if not _RANGE.fullmatch(kind):
        return None
    weight = 1.0
    for parameter in parameters:
        if parameter.lower().startswith("q="):
            quality = _QUALITY.fullmatch(parameter)
            if quality is None:
                return None
            weight = float(quality[1])
    return kind.lower(), weight


def _weight(kind: str, ranges: Sequence[tuple[str, float]]) -> float:
    for wanted in (kind, f"{kind.partition('/')[0]}/*", "*/*"):
        fitting = [weight for one, weight in ranges if one == wanted]
        if fitting:
            return max(fitting)
    return 0.0


class Negotiated:
    """Answers of the type `offered[0]` get the one that the client wants; where it wants none, 406.

    free: paths that answer as they like.
    """

    def __init__(
        self, app: ASGIApp, *, offered: Sequence[str], free: Collection[str], refuse: Refuse
    ) -> None:
        self._app = app
        self._offered = offered
        self._free = free
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in self._free:
            await self._app(scope, receive, send)
            return
        accept = b", ".join(value for name, value in scope["headers"] if name == b"accept").decode("latin-1")
        wanted = preferred(accept, self._offered)
        if wanted is None:
            message = f"nothing fits the Accept header {accept!r}; answers are {', '.join(self._offered)}"
            await self._refuse(406, message)(scope, receive, send)
            return
        ours, theirs = self._offered[0].encode(), wanted.encode()

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    (name, theirs if name == b"content-type" and value == ours else value)
                    for name, value in message["headers"]
                ]
            await send(message)

        await self._app(scope, receive, named)


class HeadAsGet:
    """A HEAD is answered as the GET would be, without the body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def bare(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        inside = {**scope, "method": "GET"}
        try:
            await self._app(inside, receive, bare)
        finally:
            scope["route"] = inside.get("route")  # for the layer that counts
