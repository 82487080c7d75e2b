"""What a schema is, who may change it, and what a change would break.

The clients are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOME = {
    "RemoteSchemaRegistryClient": "qmtl.foundation.schema.remote",
    "SchemaRegistryClient": "qmtl.foundation.schema.client",
}


def __getattr__(name: str) -> Any:
    try:
        home = _HOME[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])


if TYPE_CHECKING:  # what __getattr__ gives, told to type checkers and editors
    from qmtl.foundation.schema.client import SchemaRegistryClient as SchemaRegistryClient
    from qmtl.foundation.schema.remote import RemoteSchemaRegistryClient as RemoteSchemaRegistryClient
