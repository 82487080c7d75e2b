"""Whether an instance really cannot be read: fastavro writes it with one schema and reads it with both."""

from __future__ import annotations

import io
from typing import Any

from qmtl.foundation.schema.compatibility.avro.deviations import Answer, deviations_in
from qmtl.foundation.schema.compatibility.avro.reading import steps
from qmtl.foundation.schema.compatibility.avro.schema_document import SchemaDocument


class Confirmation:
    """Of one pair of schemas. Raises `TooDeep` where fastavro could not follow them."""

    def __init__(self, writer: SchemaDocument, reader: SchemaDocument) -> None:
        self._writer = writer
        self._reader = reader
        self.has_nothing_to_resolve = writer.rendered == reader.rendered
        self._answers: dict[int, tuple[Any, bool]] = {}

    def is_unreadable(self, instance: Any) -> bool:
        """Whether `instance`, a value of the writer's, cannot be read."""
        if id(instance) not in self._answers:
            # Problems share instances; each is kept beside its answer, so that its id stays its own.
            self._answers[id(instance)] = (instance, self._judge(instance))
        return self._answers[id(instance)][1]

    def _judge(self, instance: Any) -> bool:
        answer = self._ask(instance)
        if answer == "refused":
            return True
        met = list(steps(self._writer.graph.root, self._reader.graph.root, instance))
        is_explained = answer is None or bool(deviations_in(met, answer))
        return is_explained and not all(step.is_readable for step in met)

    def _ask(self, instance: Any) -> Answer | None:
        """None where fastavro cannot be asked. Raises `MissingDependencyError`."""
        writer, reader = self._writer.parsed, self._reader.parsed
        if writer is None or reader is None:
            return None
        from fastavro import schemaless_reader, schemaless_writer
        from fastavro.read import SchemaResolutionError

        written = io.BytesIO()
        schemaless_writer(written, writer, {"value": instance})
        written.seek(0)
        try:
            schemaless_reader(written, writer, reader)
        except SchemaResolutionError:
            return "refused"
        except Exception:  # noqa: BLE001 - a crash of any kind is no verdict; the caller looks for its reason
            return "stumbled"
        return "read"
