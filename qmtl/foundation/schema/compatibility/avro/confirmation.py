"""Whether an instance really cannot be read: fastavro writes it with one schema and reads it with both."""

from __future__ import annotations

import io
from contextlib import suppress
from typing import Any

from qmtl.foundation.errors import MissingDependencyError
from qmtl.foundation.schema.compatibility.avro.deviations import Answer, deviations_in
from qmtl.foundation.schema.compatibility.avro.reading import steps
from qmtl.foundation.schema.compatibility.avro.rendering import schema_of
from qmtl.foundation.schema.compatibility.avro.types import Graph


class Confirmation:
    """Of one pair of schemas, which fastavro reads once. Raises `TooDeep` where it could not follow them."""

    def __init__(self, writer: Graph, reader: Graph) -> None:
        try:
            from fastavro import parse_schema
            from fastavro.schema import UnknownType
        except ImportError:
            raise MissingDependencyError("fastavro", extra="schemas") from None
        self._writer = writer
        self._reader = reader
        rendered = schema_of(writer.root), schema_of(reader.root)
        self.has_nothing_to_resolve = rendered[0] == rendered[1]
        self._schemas: list[Any] = []
        self._answers: dict[int, tuple[Any, bool]] = {}
        # A name without a namespace, referred to from within one, is unknown to fastavro: it cannot be asked.
        with suppress(UnknownType):
            self._schemas = [parse_schema(_held(schema)) for schema in rendered]

    def is_unreadable(self, instance: Any) -> bool:
        """Whether `instance`, a value of the writer's, cannot be read."""
        if id(instance) not in self._answers:
            # Problems share instances; each is kept beside its answer, so that its id stays its own.
            self._answers[id(instance)] = (instance, self._judge(instance))
        return self._answers[id(instance)][1]

    def _judge(self, instance: Any) -> bool:
        answer = self._ask(instance) if self._schemas else None
        if answer == "refused":
            return True
        met = list(steps(self._writer.root, self._reader.root, instance))
        is_explained = answer is None or bool(deviations_in(met, answer))
        return is_explained and not all(step.is_readable for step in met)

    def _ask(self, instance: Any) -> Answer:
        from fastavro import schemaless_reader, schemaless_writer
        from fastavro.read import SchemaResolutionError

        written = io.BytesIO()
        writer, reader = self._schemas
        schemaless_writer(written, writer, {"value": instance})
        written.seek(0)
        try:
            schemaless_reader(written, writer, reader)
        except SchemaResolutionError:
            return "refused"
        except Exception:  # noqa: BLE001 - a crash of any kind is no verdict; the caller looks for its reason
            return "stumbled"
        return "read"


def _held(schema: Any) -> Any:
    """In a record of one field, as fastavro would read a bare union anew at each question.

    No Avro type can have its name, for the spaces in it.
    """
    return {"type": "record", "name": "an instance", "fields": [{"name": "value", "type": schema}]}
