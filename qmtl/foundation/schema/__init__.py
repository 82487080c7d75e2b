"""What a schema is, who may change it, and what a change would break.

registry/        what a registry promises, its clients, its rules, and where it keeps its rows
governance/      who decided what: decisions, the audit log, bundles, the steps of a rollout
compatibility/   what a change would break: Avro, JSON Schema, and the levels
canonical_form/  the text by which a schema is stored, compared and identified
wellformed/      whether a text is a schema at all
builtin/         the schemas that this package brings

The names below are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_MODULES = {
    "BUILTIN": "builtin",
    "Bundle": "governance.bundle",
    "Reference": "documents",
    "RemoteSchemaRegistryClient": "registry.remote",
    "Schema": "documents",
    "SchemaRegistryClient": "registry.client",
    "SchemaType": "documents",
}


def __getattr__(name: str) -> Any:
    try:
        module = _MODULES[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    return getattr(import_module(f"{__name__}.{module}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])


if TYPE_CHECKING:  # what __getattr__ gives, for type checkers and editors
    from qmtl.foundation.schema.builtin import BUILTIN as BUILTIN
    from qmtl.foundation.schema.documents import Reference as Reference
    from qmtl.foundation.schema.documents import Schema as Schema
    from qmtl.foundation.schema.documents import SchemaType as SchemaType
    from qmtl.foundation.schema.governance.bundle import Bundle as Bundle
    from qmtl.foundation.schema.registry.client import SchemaRegistryClient as SchemaRegistryClient
    from qmtl.foundation.schema.registry.remote import (
        RemoteSchemaRegistryClient as RemoteSchemaRegistryClient,
    )
