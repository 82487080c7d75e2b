"""A server of QuestDB and its user, as addresses that begin with questdb:// name them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit

from qmtl.foundation.local_paths import names_questdb

DEFAULT_PORT = 9000
QUOTED = "signs such as / ? # and @ in a password have to be quoted: %2F %3F %23 %40"


@dataclass(frozen=True)
class QuestDBLogin:
    """Where a server is, and who asks it. port: of its HTTP.

    secrets: the passwords, as they may be written.
    """

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False, compare=False, kw_only=True)

    def __str__(self) -> str:
        return self.shown

    @property
    def shown(self) -> str:
        """The address for people."""
        user = f"{quote(self.user, safe='')}@" if self.user else ""
        return f"questdb://{user}{self.host}:{self.port}"

    def redacted(self, text: str) -> str:
        """A text of the server or of its client without the password."""
        for secret in self.secrets:
            text = text.replace(secret, "...")
        return text


class Parts(NamedTuple):
    """An address, cut. written: the password as it stands there; query: what follows the ?."""

    host: str
    port: int
    user: str
    password: str
    written: str
    query: str


def parts_of(text: str) -> Parts:
    """Raises `ValueError`, whose words show no password, for what names no server of QuestDB."""
    scheme, _, rest = text.partition("://")
    if not names_questdb(f"{scheme}:") or not rest:
        raise ValueError("it does not begin with questdb://")
    try:
        found = urlsplit(f"questdb://{rest}")
        host, port = found.hostname, DEFAULT_PORT if found.port is None else found.port
    except ValueError:
        # The words of this error would show the address.
        raise ValueError(f"its host, its port or what follows its ? cannot be read; {QUOTED}") from None
    if found.fragment or found.path not in ("", "/"):
        # Where a password ends could only be guessed.
        raise ValueError(QUOTED)
    if not host:
        raise ValueError("it names no host")
    written = found.password or ""
    return Parts(host, port, unquote(found.username or ""), unquote(written), written, found.query)


def secrets_of(written: Iterable[str]) -> tuple[str, ...]:
    """What must not be shown: passwords as they are, as they were written, and quoted; the longest first."""
    known = {one for one in written if one}
    known |= {quote(one, safe="") for one in known}  # an address may stand there quoted as a whole
    return tuple(sorted(known, key=len, reverse=True))
