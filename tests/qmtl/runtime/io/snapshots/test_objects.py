"""An object store keeps the promises of a place; what it refuses says why, and what to do."""

from __future__ import annotations

import pytest

from qmtl.foundation.errors import InvalidRequestError, StoreError
from qmtl.runtime.io.snapshots import objects
from qmtl.runtime.io.snapshots.objects import ObjectPlace
from tests.qmtl.ports import free_port


@pytest.fixture
def unreachable(monkeypatch):
    monkeypatch.setattr(objects, "RETRIES", 1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


def test_a_server_that_is_not_there(unreachable):
    place = ObjectPlace("s3://bucket/bars")
    for verb in (lambda: place.get("a"), lambda: place.create("a", b""), lambda: place.entries("a/")):
        with pytest.raises(StoreError, match="of the snapshot cannot be") as raised:
            verb()
        assert raised.value.path == "s3://bucket/bars"


def test_what_is_no_address(unreachable):
    with pytest.raises(InvalidRequestError, match="is no place of a snapshot"):
        ObjectPlace("s3://")


def test_secrets_of_an_address_are_not_shown(unreachable):
    assert ObjectPlace("s3://user:secret@bucket/bars").location == "s3://...@bucket/bars"
