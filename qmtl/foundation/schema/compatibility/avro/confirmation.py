"""Whether an instance really cannot be read: fastavro writes it with one schema and reads it with both."""

from __future__ import annotations

import io
from typing import Any, Literal

from qmtl.foundation.errors import MissingDependencyError
from qmtl.foundation.schema.compatibility.avro.deviations import deviations_at
from qmtl.foundation.schema.compatibility.avro.places import Place
from qmtl.foundation.schema.compatibility.avro.reading import can_be_read
from qmtl.foundation.schema.compatibility.avro.rendering import schema_of
from qmtl.foundation.schema.compatibility.avro.types import Graph

Answer = Literal["refused", "read", "stumbled"]


class Confirmation:
    """Of one pair of schemas, which fastavro reads once. Raises `TooDeep` where it could not follow them."""

    def __init__(self, writer: Graph, reader: Graph) -> None:
        try:
            import fastavro
        except ImportError:
            raise MissingDependencyError("fastavro", extra="schemas") from None
        self._writer = writer
        self._reader = reader
        self._schemas = [fastavro.parse_schema(schema_of(graph.root)) for graph in (writer, reader)]
        self._answers: dict[int, tuple[Any, Answer]] = {}

    def is_unreadable(self, instance: Any, place: Place) -> bool:
        """Whether `instance`, which leads to the problem at `place`, cannot be read."""
        if id(instance) not in self._answers:
            # Problems share instances; each is kept beside its answer, so that its id stays its own.
            self._answers[id(instance)] = (instance, self._ask(instance))
        if self._answers[id(instance)][1] == "refused":
            return True
        return bool(deviations_at(place)) and not can_be_read(self._writer.root, self._reader.root, instance)

    def _ask(self, instance: Any) -> Answer:
        from fastavro import schemaless_reader, schemaless_writer
        from fastavro.read import SchemaResolutionError

        written = io.BytesIO()
        writer, reader = self._schemas
        schemaless_writer(written, writer, instance)
        written.seek(0)
        try:
            schemaless_reader(written, writer, reader)
        except SchemaResolutionError:
            return "refused"
        except Exception:  # noqa: BLE001 - a crash of any kind is no verdict; the caller looks for its reason
            return "stumbled"
        return "read"
