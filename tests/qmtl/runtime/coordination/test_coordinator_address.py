"""What is no URL and no token says why, and shows neither."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qmtl import DistributedBackfillCoordinator, InvalidRequestError, SeamlessDataProvider
from qmtl.runtime.coordination.coordinator_address import checked_token, checked_url
from qmtl.runtime.coordination.coordinator_client import CoordinatorClient

USABLE = ["http://h", "https://h:8090/team", "http://[::1]:1", "http://h:65535/"]
UNUSABLE = [
    (None, "NoneType"),
    (3, "int"),
    ("", "http://"),
    ("h:8090", "http://"),
    ("ftp://h", "http://"),
    ("http://", "no host"),
    ("http://user:secret@h", "user or password"),
    ("http://h:secret", "port"),
    ("http://h:99999", "port"),
    ("http://h:0", "port"),
    ("http://[secret", "host"),
    ("http://h/a b", "blank"),
    ("http://h\n", "line end"),
    ("http://h\x1b[2J", "control"),
    ("http://h/?secret", "?"),
]


@pytest.mark.parametrize("url", USABLE)
def test_a_url_is_taken_as_it_is(url: str) -> None:
    assert checked_url(url) == url


@pytest.mark.parametrize(("url", "why"), UNUSABLE)
def test_what_is_no_url_says_why(url: Any, why: str) -> None:
    for use in (checked_url, lambda one: CoordinatorClient(one, None), DistributedBackfillCoordinator):
        with pytest.raises(InvalidRequestError) as refused:
            use(url)
        assert why in str(refused.value.why)
        assert "secret" not in str(refused.value)


@pytest.mark.parametrize("coordinator", [7.5, "", "http://h:99999"])
def test_a_provider_refuses_what_is_no_coordinator(tmp_path: Path, coordinator: Any) -> None:
    with pytest.raises(InvalidRequestError, match="is not the URL of a coordinator"):
        SeamlessDataProvider(tmp_path / "bars", {}, coordinator=coordinator)


@pytest.mark.parametrize("token", ["secret\nx", "secret x", "secret\x7f", "sécret", b"secret", 3])
def test_a_token_that_cannot_be_sent_is_refused_and_not_shown(token: Any) -> None:
    with pytest.raises(InvalidRequestError, match="cannot be sent") as refused:
        DistributedBackfillCoordinator("http://h", token=token)
    assert "secret" not in str(refused.value)
    assert checked_token("right") == "right"
    assert checked_token(None) is None


@pytest.mark.parametrize("name", ["on_expired", "on_failed", "on_violation"])
def test_a_hook_that_cannot_be_called_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"{name}=3 cannot be called"):
        DistributedBackfillCoordinator("http://h", **{name: 3})  # type: ignore[arg-type]
