"""What all sections of settings and world files share: how values are checked, and their types."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from qmtl.foundation.times import to_seconds


class Section(BaseModel):
    """Keys with values, frozen; a key that is not known is refused."""

    # What checks values is built when there are values: most calls of `qmtl` have neither file nor variable.
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, defer_build=True)


def text_of(value: object) -> object:
    """YAML reads a folder called 2024 as a number; here it is a text."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _seconds(value: object) -> object:
    return None if value is None else to_seconds(value)


Text = Annotated[str, BeforeValidator(text_of), Field(min_length=1)]
Seconds = Annotated[
    float,
    BeforeValidator(_seconds),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": 0},
                {"type": "string", "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*(ms|s|m|h|d)\s*$"},
            ]
        }
    ),
]
