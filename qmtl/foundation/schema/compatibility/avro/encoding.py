"""A value as Avro's JSON encoding has it: branches of unions named, bytes as ISO-8859-1 text.

"JSON Encoding" in the Avro 1.12 specification: null is null also in a union; any other value of a union is
an object of one name and one value, the name being the full name of a named type.
"""

from __future__ import annotations

from typing import Any

from qmtl.foundation.schema.compatibility.avro.smallest import Chosen


def json_encoding(value: Any) -> Any:
    """From a value as fastavro writes it, with each value of a union `Chosen`."""
    if isinstance(value, Chosen):
        return None if value.branch == "null" else {value.branch: json_encoding(value.value)}
    if isinstance(value, bytes):
        return value.decode("iso-8859-1")
    if isinstance(value, list):
        return [json_encoding(item) for item in value]
    if isinstance(value, dict):
        return {key: json_encoding(item) for key, item in value.items()}
    return value
