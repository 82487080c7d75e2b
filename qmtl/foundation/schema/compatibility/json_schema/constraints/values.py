"""A few values, each of which is known."""

from __future__ import annotations

from typing import Any

from qmtl.foundation.schema.compatibility.json_schema.constraints.base import Constraints
from qmtl.foundation.schema.compatibility.json_schema.node import Terms


class Values(Constraints):
    """The instance is one of `values`: null, booleans, and whatever enum or const list."""

    def __init__(self, type_name: str, terms: Terms, values: list[Any]) -> None:
        super().__init__(type_name, terms)
        self.values = values
