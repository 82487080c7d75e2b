"""A text is the address of a server, or none."""

from __future__ import annotations

import pytest

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.questdb_address import QuestDBAddress
from qmtl.foundation.server_addresses import server_named
from qmtl.foundation.store_address import StoreAddress


def test_each_scheme_has_its_address() -> None:
    assert isinstance(server_named("postgresql://me@localhost/bars"), StoreAddress)
    assert isinstance(server_named("QuestDB://localhost?catalog=bars"), QuestDBAddress)


@pytest.mark.parametrize("text", ["./bars", "questdb", "s3://bucket", "mem:"])
def test_anything_else_is_none(text: str) -> None:
    assert server_named(text) is None


@pytest.mark.parametrize("text", ["questdb:/localhost", "postgresql:bars", "questdb://localhost"])
def test_what_is_meant_as_one_never_becomes_a_folder(text: str) -> None:
    with pytest.raises(InvalidRequestError):
        server_named(text)
