"""A type without a namespace inside of one that has it is not taken for one that lies there."""

from __future__ import annotations

from qmtl.foundation.schema.compatibility.avro import compare
from qmtl.foundation.schema.documents import Document, SchemaType


def test_the_same_simple_name_in_two_namespaces() -> None:
    inner = {"type": "enum", "name": "B", "namespace": "", "symbols": ["P", "Q"]}
    outer = {"type": "record", "name": "x.B", "fields": [{"name": "f", "type": inner}]}
    more = {**outer, "fields": [*outer["fields"], {"name": "g", "type": "int"}]}
    reader, writer = Document(SchemaType.AVRO, more), Document(SchemaType.AVRO, outer)
    assert compare(reader, writer).is_compatible
    (problem,) = compare(writer, reader).problems
    assert (problem.rule, problem.undecided) == ("avro.default_missing", False)
    assert problem.counterexample is not None
