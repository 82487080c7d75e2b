"""The address of a store whose rows lie in QuestDB, and how it is shown: without its password."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.local_paths import folder_path, names_questdb, names_server
from qmtl.foundation.store_address import StoreAddress

DEFAULT_PORT = 9000
DEFAULT_NAME = "qmtl"
_OPTIONS = {"catalog", "name"}
_QUOTED = "signs such as / ? # and @ in a password have to be quoted: %2F %3F %23 %40"
_SHOWN = (
    "questdb://user@host:9000?catalog=FOLDER&name=desk, where FOLDER may be postgresql://user@host/database"
)


@dataclass(frozen=True)
class QuestDBAddress:
    """Where the rows of a store are, and where its catalog is.

    port: of QuestDB's HTTP. catalog: the folder of the catalog, or its address on PostgreSQL. name: what the
    names of its tables begin with; two stores on one server have different ones.
    """

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    catalog: str | StoreAddress
    name: str
    # The passwords, as they may be written.
    secrets: tuple[str, ...] = field(default=(), repr=False, compare=False)

    def __str__(self) -> str:
        return self.shown

    @property
    def shown(self) -> str:
        """The address for people."""
        catalog = quote(self.catalog, safe="/,") if isinstance(self.catalog, str) else self.catalog.shown
        options = f"catalog={catalog}&name={self.name}"
        user = f"{quote(self.user, safe='')}@" if self.user else ""
        return f"questdb://{user}{self.host}:{self.port}?{options}"

    def redacted(self, text: str) -> str:
        """A text of the server or of its client without the password."""
        for secret in self.secrets:
            text = text.replace(secret, "...")
        return text

    @property
    def place(self) -> Path | StoreAddress:
        """Where the catalog is: a folder, or an address that other machines reach as well."""
        if isinstance(self.catalog, StoreAddress):
            return self.catalog
        return folder_path(self.catalog, "a catalog").expanduser()

    def within(self, folder: Path) -> QuestDBAddress:
        """The same with a relative catalog counted from a folder."""
        place = self.place
        return replace(self, catalog=str(folder / place)) if isinstance(place, Path) else self

    @classmethod
    def parse(cls, text: str) -> QuestDBAddress:
        """Raises `InvalidRequestError`, which does not show the password, for what is no such address."""
        scheme, _, rest = text.partition("://")
        if not names_questdb(f"{scheme}:") or not rest:
            raise _refused("it does not begin with questdb://")
        try:
            parts = urlsplit(f"questdb://{rest}")
            host, port = parts.hostname, DEFAULT_PORT if parts.port is None else parts.port
            given = _options_of(parts.query)
        except ValueError:
            # The words of this error would show the address.
            raise _refused(f"its host, its port or what follows its ? cannot be read; {_QUOTED}") from None
        options = dict(given)
        catalog, name = options.get("catalog", ""), options.get("name", DEFAULT_NAME)
        is_folder = not names_server(catalog)
        if parts.fragment or parts.path not in ("", "/") or (is_folder and "@" in parts.query):
            # Where a password ends could only be guessed.
            raise _refused(_QUOTED)
        if not host:
            raise _refused("it names no host")
        if unknown := sorted(set(options) - _OPTIONS):
            raise _refused(f"{unknown[0]!r} is no option of it; there are catalog and name")
        if len(options) < len(given):
            raise _refused("it names an option twice")
        if not catalog:
            raise _refused("it names no catalog, and QuestDB alone has no transactions")
        if is_folder and "://" in catalog:
            raise _refused("its catalog is neither a folder nor an address of PostgreSQL")
        if re.fullmatch(r"[a-z][a-z0-9_]{0,62}", name) is None:
            raise _refused(f"the name {name!r} is not one of small letters, digits and _")
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        where = catalog if is_folder else StoreAddress.parse(catalog)
        written = {password, parts.password or "", *(() if isinstance(where, str) else where.secrets)} - {""}
        written |= {quote(one, safe="") for one in written}  # an address may stand there quoted as a whole
        secrets = tuple(sorted(written, key=len, reverse=True))
        return cls(host, port, user, password, where, name, secrets)


def _options_of(query: str) -> list[tuple[str, str]]:
    """Name and value of each option. Raises `ValueError` where it cannot be read."""
    if not (found := re.search(r"(?:^|&)catalog=(postgres(?:ql)?://.*)", query, re.IGNORECASE)):
        return parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    # An address has options of its own: what is not ours is the catalog's, as it stands.
    inside: list[str] = []
    others = [query[: found.start()]]
    for part in found[1].split("&"):
        (others if part.partition("=")[0] in _OPTIONS else inside).append(part)
    rest = "&".join(filter(None, others))
    if "@" in rest:
        raise ValueError("a part of a password may be in there")
    return [("catalog", "&".join(inside)), *parse_qsl(rest, strict_parsing=bool(rest))]


def _refused(why: str) -> InvalidRequestError:
    return InvalidRequestError(
        "the address of the store cannot be used", why=why, next_step=f"write it as {_SHOWN}"
    )
