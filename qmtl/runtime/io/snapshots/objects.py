"""An object store as the place of a snapshot: whatever obstore reaches, such as S3, Google or Azure."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from obstore.store import from_url

from qmtl.foundation.errors import InvalidRequestError, StoreError
from qmtl.foundation.local_paths import without_password
from qmtl.runtime.io.snapshots.place import Entry

# How long one request is repeated while the server fails or is too busy, and how often.
RETRY_S = 20.0
RETRIES = 5
TIMEOUT_S = 30.0
CONNECT_S = 10.0


class ObjectPlace:
    """A prefix of an object store, by its address: s3://bucket/path, gs://bucket/path, az://container/path.

    Credentials, the region and the address of a server come from the variables of that store, such as
    AWS_ACCESS_KEY_ID and AWS_ENDPOINT_URL.
    """

    def __init__(self, url: str) -> None:
        self._shown = without_password(url).rstrip("/")
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
        try:
            self._store = from_url(
                url,
                client_options={
                    "timeout": timedelta(seconds=TIMEOUT_S),
                    "connect_timeout": timedelta(seconds=CONNECT_S),
                    "allow_http": endpoint.lower().startswith("http://"),
                },
                retry_config={"max_retries": RETRIES, "retry_timeout": timedelta(seconds=RETRY_S)},
            )
        except (BaseError, ValueError) as error:
            raise InvalidRequestError(
                f"{self._shown} is no place of a snapshot",
                why=_reason(error),
                next_step="name a folder, or an object store such as s3://bucket/path",
            ) from error

    @property
    def location(self) -> str:
        return self._shown

    def get(self, name: str) -> bytes | None:
        with self._naming("read", name):
            try:
                return bytes(obstore.get(self._store, name).bytes())
            except FileNotFoundError:
                return None

    def put(self, name: str, data: bytes) -> None:
        with self._naming("written", name):
            obstore.put(self._store, name, data, use_multipart=False)

    def create(self, name: str, data: bytes) -> bool:
        with self._naming("written", name):
            try:
                obstore.put(self._store, name, data, mode="create", use_multipart=False)
            except AlreadyExistsError:
                return False
            return True

    def size(self, name: str) -> int | None:
        with self._naming("read", name):
            try:
                return int(obstore.head(self._store, name)["size"])
            except FileNotFoundError:
                return None

    def entries(self, prefix: str) -> list[Entry]:
        folder = prefix.rstrip("/")  # they list below a folder, and know no other prefixes
        with self._naming("listed", prefix):
            return sorted(
                Entry(one["path"], one["size"], int(one["last_modified"].timestamp()) * 1_000_000_000)
                for some in obstore.list(self._store, folder)
                for one in some
            )

    def remove(self, name: str) -> None:
        with self._naming("removed", name):
            try:
                obstore.delete(self._store, name)
            except FileNotFoundError:
                return

    @contextmanager
    def _naming(self, what: str, name: str) -> Iterator[None]:
        try:
            yield
        except (BaseError, OSError, ValueError) as error:
            why = _reason(error)
            is_refused = isinstance(error, UnauthenticatedError | PermissionDeniedError)
            raise StoreError(
                f"{name} of the snapshot cannot be {what}",
                path=self._shown,
                why=why,
                next_step="give credentials that hold and may do so, in variables such as AWS_ACCESS_KEY_ID"
                if is_refused or any(sign in why for sign in _REFUSED)
                else "check that the server answers, and the address of the bucket; then repeat it",
            ) from error


# What a refusal looks like where the library has no kind of error for it: of a listing, and the address at
# which machines of a cloud are asked for credentials if no variable has any.
_REFUSED = ("401 Unauthorized", "403 Forbidden", "169.254.169.254")

# What S3 and others say in XML, around the sentence that is meant for people.
_XML = re.compile(r"<\?xml.*?<Message>(.*?)</Message>.*", re.DOTALL)


def _reason(error: Exception) -> str:
    """What the library says, on one line, without its own debugging output."""
    return " ".join(_XML.sub(r"\1", str(error).split("\n\nDebug source:")[0]).split())
