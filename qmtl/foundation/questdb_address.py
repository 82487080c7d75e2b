"""The address of a store whose rows lie in QuestDB, and how it is shown: without its password."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.local_paths import folder_path, names_questdb

DEFAULT_PORT = 9000
DEFAULT_NAME = "qmtl"
_OPTIONS = {"catalog", "name"}
_QUOTED = "signs such as / ? # and @ in a password have to be quoted: %2F %3F %23 %40"
_SHOWN = "questdb://user@host:9000?catalog=FOLDER&name=desk"


@dataclass(frozen=True)
class QuestDBAddress:
    """Where the rows of a store are, and where its catalog is.

    port: of QuestDB's HTTP. catalog: the folder of the catalog. name: what the names of its tables begin
    with; two stores on one server have different ones.
    """

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    catalog: str
    name: str
    # The password, as it may be written.
    secrets: tuple[str, ...] = field(default=(), repr=False, compare=False)

    def __str__(self) -> str:
        return self.shown

    @property
    def shown(self) -> str:
        """The address for people."""
        options = urlencode({"catalog": self.catalog, "name": self.name}, quote_via=quote, safe="/,")
        user = f"{quote(self.user, safe='')}@" if self.user else ""
        return f"questdb://{user}{self.host}:{self.port}?{options}"

    def redacted(self, text: str) -> str:
        """A text of the server or of its client without the password."""
        for secret in self.secrets:
            text = text.replace(secret, "...")
        return text

    @property
    def folder(self) -> Path:
        """The folder of the catalog."""
        return folder_path(self.catalog, "a catalog").expanduser()

    def within(self, folder: Path) -> QuestDBAddress:
        """The same with a relative catalog counted from a folder."""
        return replace(self, catalog=str(folder / self.folder))

    @classmethod
    def parse(cls, text: str) -> QuestDBAddress:
        """Raises `InvalidRequestError`, which does not show the password, for what is no such address."""
        scheme, _, rest = text.partition("://")
        if not names_questdb(f"{scheme}:") or not rest:
            raise _refused("it does not begin with questdb://")
        try:
            parts = urlsplit(f"questdb://{rest}")
            host, port = parts.hostname, DEFAULT_PORT if parts.port is None else parts.port
            given = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        except ValueError:
            # The words of this error would show the address.
            raise _refused(f"its host, its port or what follows its ? cannot be read; {_QUOTED}") from None
        if parts.fragment or parts.path not in ("", "/") or "@" in parts.query:
            # Where a password ends could only be guessed.
            raise _refused(_QUOTED)
        if not host:
            raise _refused("it names no host")
        options = dict(given)
        if unknown := sorted(set(options) - _OPTIONS):
            raise _refused(f"{unknown[0]!r} is no option of it; there are catalog and name")
        if len(options) < len(given):
            raise _refused("it names an option twice")
        catalog, name = options.get("catalog", ""), options.get("name", DEFAULT_NAME)
        if not catalog:
            raise _refused("it names no catalog, and QuestDB alone has no transactions")
        if "://" in catalog:
            raise _refused("its catalog is not a folder; a catalog in PostgreSQL is not served yet")
        if re.fullmatch(r"[a-z][a-z0-9_]{0,62}", name) is None:
            raise _refused(f"the name {name!r} is not one of small letters, digits and _")
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        secrets = sorted({part for part in (password, parts.password) if part}, key=len, reverse=True)
        return cls(host, port, user, password, catalog, name, tuple(secrets))


def _refused(why: str) -> InvalidRequestError:
    return InvalidRequestError(
        "the address of the store cannot be used", why=why, next_step=f"write it as {_SHOWN}"
    )
