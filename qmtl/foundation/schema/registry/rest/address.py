"""The URL of a registry without secrets, and credentials that are never shown."""

from __future__ import annotations

import base64
import ipaddress
from dataclasses import dataclass, field
from typing import TypeAlias
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from qmtl.foundation.errors import InvalidRequestError

# A name and a password (HTTP Basic, RFC 7617), or a token (RFC 6750).
Auth: TypeAlias = tuple[str, str] | str


@dataclass(frozen=True, slots=True)
class Address:
    """The address of a registry.

    url: without credentials, and without a `/` at its end. authorization: the value of that header of HTTP.
    """

    url: str
    authorization: str | None = field(default=None, repr=False)

    @classmethod
    def read(cls, url: str, auth: Auth | None = None) -> Address:
        """Raises `InvalidRequestError`, which never holds credentials, for what is no address."""
        parts = _split(url)
        if parts.username is not None:
            if auth is not None:
                raise InvalidRequestError(
                    f"there are two credentials for {_shown(parts)}",
                    why="one stands in the URL, and one was given beside it",
                    next_step="leave one of them out",
                )
            auth = (unquote(parts.username), unquote(parts.password or ""))
        return cls(_shown(parts), None if auth is None else _authorization(auth))

    @property
    def is_secure(self) -> bool:
        return self.url.startswith("https:")

    @property
    def is_loopback(self) -> bool:
        """Whether it is on this machine by its very name."""
        host = urlsplit(self.url).hostname or ""
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost" or host.endswith(".localhost")


def _split(url: str) -> SplitResult:
    # What cannot be split may hold a password anywhere, so nothing of it is shown.
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port or an IPv6 address that is none
        fits = False
    if not fits:
        raise InvalidRequestError(
            "the URL of the schema registry cannot be used",
            why="it does not begin with http:// or https:// and the name of a host",
            next_step="write it like http://127.0.0.1:8081",
        )
    if parts.query or parts.fragment:
        raise InvalidRequestError(
            f"the URL of the schema registry {_shown(parts)} cannot be used",
            why="something stands behind a ? or #",
            next_step="leave that out",
        )
    return parts


def _shown(parts: SplitResult) -> str:
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))


def _authorization(auth: Auth) -> str:
    if isinstance(auth, str):
        if not auth.isascii() or not auth.isprintable() or " " in auth or not auth:
            raise InvalidRequestError(
                "the bearer token cannot be sent", why="it is empty, or holds spaces or other than ASCII"
            )
        return f"Bearer {auth}"
    name, password = auth
    if ":" in name:
        raise InvalidRequestError(
            "the name for the schema registry cannot be sent", why="HTTP Basic allows no colon in a name"
        )
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()
