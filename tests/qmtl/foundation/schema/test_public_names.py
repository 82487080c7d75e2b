"""What users import from `qmtl.foundation.schema`, whichever room has it; loaded when first used."""

from __future__ import annotations

import subprocess
import sys

import pytest

from qmtl.foundation import schema

NAMES = (
    "BUILTIN", "Bundle", "Reference", "RemoteSchemaRegistryClient", "Schema", "SchemaRegistryClient",
    "SchemaType",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_there(name: str) -> None:
    assert getattr(schema, name, None) is not None
    assert name in dir(schema)


def test_the_built_in_bundle_can_be_registered_with_these_names_alone() -> None:
    registry = schema.SchemaRegistryClient()
    for file in schema.Bundle.read(schema.BUILTIN).in_order():
        assert file.schema.type is schema.SchemaType.JSON
        registry.register(file.subject, file.schema)
    assert registry.subjects() == ("ohlcv", "trades")


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Spam'"):
        schema.Spam  # noqa: B018


def test_the_package_alone_loads_no_client() -> None:
    program = (
        "import sys, qmtl.foundation.schema as s; print([m for m in sys.modules if m.startswith(s.__name__)])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['qmtl.foundation.schema']"
