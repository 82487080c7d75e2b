"""The libraries that say what a schema accepts, imported when they are first needed."""

from __future__ import annotations

from typing import Any

from qmtl.foundation.errors import MissingDependencyError
from qmtl.foundation.schema.compatibility.json_schema.dialects import Dialect


def libraries() -> tuple[Any, Any]:
    """`referencing` and `jsonschema`. Raises `MissingDependencyError`."""
    try:
        import jsonschema
        import referencing
        import referencing.jsonschema
    except ImportError:
        raise MissingDependencyError("jsonschema", extra="schemas") from None
    return referencing, jsonschema


def specification_of(dialect: Dialect) -> Any:
    referencing, _ = libraries()
    return referencing.jsonschema.specification_with(dialect.value)


def validator_class(dialect: Dialect) -> Any:
    _, jsonschema = libraries()
    return {
        Dialect.DRAFT_07: jsonschema.Draft7Validator,
        Dialect.DRAFT_2020_12: jsonschema.Draft202012Validator,
    }[dialect]
