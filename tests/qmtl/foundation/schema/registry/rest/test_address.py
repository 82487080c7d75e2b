"""The URL of a registry is cleaned of secrets, and what cannot be used is refused without showing any."""

from __future__ import annotations

import pytest

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.schema.registry.rest.address import Address


def test_credentials_leave_the_url_and_are_not_shown() -> None:
    address = Address.read("https://me:s%20cret@host:8081/base/")
    assert address.url == "https://host:8081/base"
    assert address.authorization == "Basic bWU6cyBjcmV0"  # base64 of "me:s cret"
    assert "bWU6" not in repr(address)


def test_a_token_is_a_bearer() -> None:
    assert Address.read("http://host", "t0ken").authorization == "Bearer t0ken"
    assert Address.read("http://host").authorization is None


@pytest.mark.parametrize(
    ("url", "secure", "loopback"),
    [
        ("http://127.0.0.1:8081", False, True),
        ("http://[::1]:8081", False, True),
        ("https://localhost", True, True),
        ("http://a.localhost", False, True),
        ("http://localhost.example", False, False),
        ("https://10.0.0.1", True, False),
    ],
)
def test_where_it_is(url: str, secure: bool, loopback: bool) -> None:
    address = Address.read(url)
    assert (address.is_secure, address.is_loopback) == (secure, loopback)


@pytest.mark.parametrize(
    "url",
    ["", "host:8081", "ftp://u:secret@host", "http://", "http://u:secret@host:port", "http://u:secret@[::1"],
)
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(InvalidRequestError, match="cannot be used") as refused:
        Address.read(url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("url", ["http://u:secret@host/?a=secret", "http://u:secret@host/#secret"])
def test_nothing_stands_behind_the_path(url: str) -> None:
    with pytest.raises(InvalidRequestError, match="leave that out") as refused:
        Address.read(url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("auth", ["", "two words", "töken", "line\n", ("a:b", "secret")])
def test_credentials_that_cannot_be_sent(auth: str | tuple[str, str]) -> None:
    with pytest.raises(InvalidRequestError, match="cannot be sent") as refused:
        Address.read("http://host", auth)
    assert "secret" not in str(refused.value)


def test_two_credentials_are_one_too_many() -> None:
    with pytest.raises(InvalidRequestError, match="two credentials") as refused:
        Address.read("http://u:secret@host", "secret")
    assert "secret" not in str(refused.value)
