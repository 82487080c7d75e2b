"""The address of a store whose rows lie in QuestDB, and how it is shown: without its password."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import parse_qsl, quote

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.local_paths import folder_path, names_server
from qmtl.foundation.questdb_login import QUOTED, QuestDBLogin, parts_of, secrets_of
from qmtl.foundation.store_address import StoreAddress

DEFAULT_NAME = "qmtl"
_OPTIONS = {"catalog", "name", "pg"}
_SHOWN = (
    "questdb://user@host:9000?catalog=FOLDER&name=desk, where FOLDER may be postgresql://user@host/database"
)


@dataclass(frozen=True)
class QuestDBAddress(QuestDBLogin):
    """Where the rows of a store are, and where its catalog is.

    catalog: the folder of the catalog, or its address on PostgreSQL. name: what the names of its tables begin
    with; two stores on one server have different ones. pg: the port where the server speaks PostgreSQL's
    protocol, if few bars are to come by it.
    """

    catalog: str | StoreAddress
    name: str
    pg: int | None = None

    @property
    def shown(self) -> str:
        """The address for people."""
        catalog = quote(self.catalog, safe="/,") if isinstance(self.catalog, str) else self.catalog.shown
        pg = "" if self.pg is None else f"&pg={self.pg}"
        return f"{super().shown}?catalog={catalog}&name={self.name}{pg}"

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
        try:
            parts = parts_of(text)
        except ValueError as failure:
            raise _refused(str(failure)) from None
        try:
            given = _options_of(parts.query)
        except ValueError:
            # The words of this error would show the address.
            raise _refused(f"its host, its port or what follows its ? cannot be read; {QUOTED}") from None
        options = dict(given)
        catalog, name = options.get("catalog", ""), options.get("name", DEFAULT_NAME)
        is_folder = not names_server(catalog)
        if is_folder and "@" in parts.query:
            raise _refused(QUOTED)
        if "table" in options:
            raise InvalidRequestError(
                "a table of a desk is no store",
                why="it has bars in it, and none of what a store knows of them; it is only ever read",
                next_step="name it as a vendor, kind: questdb in qmtl.yml or qmtl.QuestDBVendor, beside "
                f"a store; one in QuestDB is {_SHOWN}",
            )
        if unknown := sorted(set(options) - _OPTIONS):
            raise _refused(f"{unknown[0]!r} is no option of it; there are catalog, name and pg")
        if len(options) < len(given):
            raise _refused("it names an option twice")
        if not catalog:
            raise _refused("it names no catalog, and QuestDB alone has no transactions")
        if is_folder and "://" in catalog:
            raise _refused("its catalog is neither a folder nor an address of PostgreSQL")
        if re.fullmatch(r"[a-z][a-z0-9_]{0,62}", name) is None:
            raise _refused(f"the name {name!r} is not one of small letters, digits and _")
        pg = options.get("pg")
        if pg is not None and (re.fullmatch(r"[0-9]{1,5}", pg) is None or not 0 < int(pg) < 1 << 16):
            raise _refused(
                f"pg={pg} is no port; QuestDB speaks PostgreSQL's protocol on 8812 if not told else"
            )
        where = catalog if is_folder else StoreAddress.parse(catalog)
        of_catalog = () if isinstance(where, str) else where.secrets
        secrets = secrets_of((parts.password, parts.written, *of_catalog))
        port = None if pg is None else int(pg)
        return cls(parts.host, parts.port, parts.user, parts.password, where, name, port, secrets=secrets)


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
