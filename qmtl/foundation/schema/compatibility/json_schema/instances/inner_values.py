"""What those who build arrays and objects ask for the values inside."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from qmtl.foundation.schema.compatibility.json_schema.constraints.objects import Objects
from qmtl.foundation.schema.compatibility.json_schema.node import Terms


class InnerValues(Protocol):
    """Gives values; `is_cut` is set where one was too large to be built."""

    is_cut: bool

    def of(self, terms: Terms, limit: int = 8) -> Iterator[Any]:
        """Values that each of `terms` allows, as far as can be decided."""
        ...

    def first(self, constraints: Objects, name: str) -> Any:
        """The first value that a property of an object may have. Raises `LookupError` without one."""
        ...
