"""The JSON encoding, held against fastavro's own writer of it."""

from __future__ import annotations

import io
import json
from typing import Any

import fastavro
from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.schema.compatibility.avro.encoding import json_encoding
from qmtl.foundation.schema.compatibility.avro.smallest import Chosen

FIXED = {"type": "fixed", "name": "m.F", "size": 2}
BRANCHES: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "null": ("null", st.none()),
    "boolean": ("boolean", st.booleans()),
    "long": ("long", st.integers(-(2**63), 2**63 - 1)),
    "bytes": ("bytes", st.binary(max_size=4)),
    "string": ("string", st.text(max_size=4)),
    "m.F": (FIXED, st.binary(min_size=2, max_size=2)),
    "array": ({"type": "array", "items": "bytes"}, st.lists(st.binary(max_size=2), max_size=2)),
    "map": ({"type": "map", "values": "m.F"}, st.just({"key": b"\xff\x00"})),
    "m.R": (
        {"type": "record", "name": "m.R", "fields": [{"name": "x", "type": ["null", "bytes"]}]},
        st.binary(max_size=2).map(lambda value_here: {"x": Chosen("bytes", value_here)})
        | st.just({"x": Chosen("null", None)}),
    ),
}
SCHEMA = [schema for schema, _ in BRANCHES.values()]


@given(st.sampled_from(list(BRANCHES)), st.data())
def test_as_fastavro_writes_it(name: str, data: st.DataObject) -> None:
    value = Chosen(name, data.draw(BRANCHES[name][1]))
    written = io.StringIO()
    fastavro.json_writer(written, fastavro.parse_schema(SCHEMA), [value])
    assert json_encoding(value) == json.loads(written.getvalue())
