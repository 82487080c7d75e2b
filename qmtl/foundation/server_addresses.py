"""Addresses of stores on servers, whichever: a schema of PostgreSQL, or rows in QuestDB."""

from __future__ import annotations

from typing import TypeAlias

from qmtl.foundation.local_paths import names_questdb, names_server
from qmtl.foundation.questdb_address import QuestDBAddress
from qmtl.foundation.store_address import StoreAddress

ServerAddress: TypeAlias = StoreAddress | QuestDBAddress


def server_named(text: str) -> ServerAddress | None:
    """The address that a text is meant as; None if it is none of a server.

    Raises `InvalidRequestError`, which does not show its password, for one that cannot be used.
    """
    if names_questdb(text):
        return QuestDBAddress.parse(text)
    return StoreAddress.parse(text) if names_server(text) else None
