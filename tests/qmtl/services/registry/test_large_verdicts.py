"""An answer holds large values and long sentences only if they are asked for."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from qmtl.foundation.errors import IncompatibleSchemaError
from qmtl.foundation.schema.documents import Schema, SchemaType
from qmtl.foundation.schema.registry.remote import RemoteSchemaRegistryClient
from qmtl.services.registry.wire import SENTENCE_CHARACTERS, VALUE_BYTES

Process = Any  # a RegistryProcess of conftest.py
LENGTH = 90_000


def text(shortest: int, **more: Any) -> dict[str, Any]:
    named = {"a": {"type": "string", "minLength": shortest}}
    return {"type": "object", "properties": named, "required": ["a"], **more}


def sent(value: Any, kind: str = "JSON") -> dict[str, str]:
    return {"schema": json.dumps(value), "schemaType": kind}


def asked(http: httpx.Client, subject: str, body: dict[str, str], flags: str) -> Any:
    reply = http.post(f"/compatibility/subjects/{subject}/versions/latest?{flags}", json=body)
    assert reply.status_code == 200
    return reply.json()


def test_a_large_counterexample_is_described_by_its_size(http: httpx.Client, subject: str) -> None:
    http.post(f"/subjects/{subject}/versions", json=sent(text(LENGTH))).raise_for_status()
    changed = sent({"properties": {"a": {"type": "integer"}}})
    size = len(json.dumps({"a": "a" * LENGTH}, separators=(",", ":")))
    (detail,) = asked(http, subject, changed, "verbose=true")["details"]
    assert (detail["counterexample"], detail["counterexample_bytes"]) == (None, size)
    assert "writer_bytes" not in detail
    refused = http.post(f"/subjects/{subject}/versions", json=changed)
    assert refused.status_code == 409
    assert refused.json()["details"] == [detail]
    for flags in ("whole=true", "verbose=true&whole=true"):
        reported = asked(http, subject, changed, flags)
        (all_of_it,) = reported["details"]
        assert all_of_it["counterexample"] == {"a": "a" * LENGTH}
        assert "counterexample_bytes" not in all_of_it
        assert reported["messages"] == [f"version 1, backward: {all_of_it['message']}"]


def test_what_is_not_large_is_reported_whole(http: httpx.Client, subject: str) -> None:
    length = VALUE_BYTES - len('{"a":""}')
    http.post(f"/subjects/{subject}/versions", json=sent(text(length))).raise_for_status()
    (detail,) = asked(http, subject, sent({"properties": {"a": {"type": "integer"}}}), "verbose=true")[
        "details"
    ]
    assert len(detail["counterexample"]["a"]) == length


def test_large_pieces_of_schema_are_described_by_their_size(http: httpx.Client, subject: str) -> None:
    values = [f"value {number}" for number in range(6_000)]
    http.post(f"/subjects/{subject}/versions", json=sent({"enum": values})).raise_for_status()
    changed = sent({"enum": [f"other {value}" for value in values]})
    (detail,) = asked(http, subject, changed, "verbose=true")["details"]
    assert (detail["writer"], detail["reader"], detail["counterexample"]) == (None, None, "value 0")
    assert VALUE_BYTES < detail["writer_bytes"] < detail["reader_bytes"]
    (detail,) = asked(http, subject, changed, "whole=true")["details"]
    assert detail["writer"] == {"enum": values}
    assert len(detail["reader"]["enum"]) == len(values)


def test_a_long_sentence_is_cut(http: httpx.Client, subject: str) -> None:
    union = [{"type": "record", "name": f"Record{number}", "fields": []} for number in range(1_000)]
    written = {"type": "record", "name": "R", "fields": [{"name": "a", "type": "int"}]}
    read = {**written, "fields": [{"name": "a", "type": union}]}
    http.post(f"/subjects/{subject}/versions", json=sent(written, "AVRO")).raise_for_status()
    reported = asked(http, subject, sent(read, "AVRO"), "verbose=true")
    (whole,) = asked(http, subject, sent(read, "AVRO"), "whole=true")["details"]
    (detail,) = reported["details"]
    length = len(whole["message"])
    assert length > SENTENCE_CHARACTERS
    end = f"... ({length} characters, of which these are the first)"
    assert detail["message"] == whole["message"][:SENTENCE_CHARACTERS] + end
    assert reported["messages"] == [f"version 1, backward: {detail['message']}"]
    refused = http.post(f"/subjects/{subject}/versions", json=sent(read, "AVRO")).json()
    assert len(refused["message"]) < SENTENCE_CHARACTERS + 100


def test_our_client_checks_with_all_and_is_refused_with_what_is_bounded(
    http: httpx.Client, server: Process, subject: str
) -> None:
    http.post(f"/subjects/{subject}/versions", json=sent(text(LENGTH))).raise_for_status()
    changed = Schema(json.dumps({"properties": {"a": {"type": "integer"}}}), SchemaType.JSON)
    client = RemoteSchemaRegistryClient(server.url)
    (comparison,) = client.check(subject, changed)
    (problem,) = comparison.verdict.problems
    assert problem.counterexample is not None
    assert problem.counterexample.value == {"a": "a" * LENGTH}
    with pytest.raises(IncompatibleSchemaError) as error:
        client.register(subject, changed)
    (comparison,) = error.value.comparisons
    (problem,) = comparison.verdict.problems
    assert (problem.counterexample, problem.undecided) == (None, False)
    client.close()


def test_the_page_tells_of_the_bounds(http: httpx.Client) -> None:
    page = http.get("/openapi.json").json()
    detail = page["components"]["schemas"]["DetailAnswer"]
    for name in ("writer_bytes", "reader_bytes", "counterexample_bytes"):
        assert detail["properties"][name]["type"] == "integer"
        assert name not in detail["required"]
    for path in (
        "/compatibility/subjects/{subject}/versions",
        "/compatibility/subjects/{subject}/versions/{version}",
    ):
        names = {one["name"] for one in page["paths"][path]["post"]["parameters"]}
        assert {"verbose", "whole"} <= names
