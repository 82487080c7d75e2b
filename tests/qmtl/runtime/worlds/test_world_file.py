"""The JSON Schema of world files is made from the models: it says of a file what they say."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
import yaml
from pydantic import ValidationError

from qmtl.runtime.worlds.world_file import WorldFile, schema
from tests.qmtl.runtime.worlds.test_loading import EXAMPLE


def changed(**entry: Any) -> Any:
    file = yaml.safe_load(EXAMPLE)
    file["world"]["data"]["presets"][0].update(entry)
    return as_editors_see_it(file)


def as_editors_see_it(value: Any) -> Any:
    """Editors take a date for a text."""
    if isinstance(value, dict):
        return {key: as_editors_see_it(one) for key, one in value.items()}
    if isinstance(value, list):
        return [as_editors_see_it(one) for one in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def test_the_schema_is_one_and_describes_every_section() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    assert {"PresetEntry", "WindowPart", "SeamlessPart", "LivePart", "PresetDefinition"} <= {
        *schema()["$defs"]
    }
    assert "bars that an input has seen" in schema()["$defs"]["WindowPart"]["description"]


@pytest.mark.parametrize(
    ("entry", "fits"),
    [
        ({}, True),
        ({"window": {"min_history": 3600}}, True),
        ({"window": {"min_history": "1.5h"}}, True),
        ({"window": {"min_history": "a month"}}, False),
        ({"window": {"warmup_bars": -1}}, False),
        ({"window": {"warmup_bar": 1}}, False),
        ({"window": {"backfill_start": "2024-01-01"}}, True),
        ({"window": {"backfill_start": 2024}}, False),
        ({"seamless": {"sla_preset": "baseline"}}, True),
        ({"seamless": {"sla_preset": "base"}}, False),
        ({"seamless": {"conformance_preset": "strict"}}, False),
        ({"seamless": {"backfill_mode": False}}, False),
        ({"universe": {"symbols": []}}, False),
        ({"universe": {"symbols": [True]}}, False),
        ({"live": {"allow_partial": "yes"}}, False),
        ({"id": "a b"}, False),
        ({"unknown": 1}, False),
    ],
)
def test_schema_and_models_agree(entry: dict[str, Any], fits: bool) -> None:
    file = changed(**entry)
    assert jsonschema.Draft202012Validator(schema()).is_valid(file) is fits
    try:
        WorldFile.model_validate(file)
        understood = True
    except ValidationError:
        understood = False
    assert understood is fits
