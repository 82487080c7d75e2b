"""Where a snapshot lies, by what people write: a folder, or the address of an object store."""

from __future__ import annotations

import os
from importlib.util import find_spec
from os import PathLike

from qmtl.foundation.errors import InvalidRequestError, MissingDependencyError
from qmtl.foundation.local_paths import is_address, without_password
from qmtl.runtime.io.snapshots.folder import FolderPlace
from qmtl.runtime.io.snapshots.place import Place

# Stores that create a file only if there is none, and keep it: not every one that obstore knows does.
_SERVED = ("s3://", "s3a://", "gs://", "az://", "abfs://", "abfss://")


def is_object_store(text: str) -> bool:
    """Whether a text is the address of an object store that is served, such as s3://bucket/path."""
    return text.lower().startswith(_SERVED)


def place_named(where: str | PathLike[str]) -> Place:
    """The place of a folder, or of an address such as s3://bucket/path.

    Raises `InvalidRequestError` for an address that is not served, and `MissingDependencyError` without the
    package that reaches it.
    """
    text = os.fspath(where)
    if not isinstance(where, str) or not is_address(text) or text.lower().startswith("file:"):
        return FolderPlace(where)
    if not is_object_store(text):
        raise InvalidRequestError(
            f"{without_password(text)} is no place of a snapshot",
            why=f"what can be reached begins with {', '.join(_SERVED)}",
            next_step="name a folder, or an object store such as s3://bucket/path",
        )
    if find_spec("obstore") is None:
        raise MissingDependencyError("obstore", extra="snapshots")
    from qmtl.runtime.io.snapshots.objects import ObjectPlace  # loads obstore

    return ObjectPlace(text)
