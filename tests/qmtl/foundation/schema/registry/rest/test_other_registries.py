"""Registries that tell less than ours: what they answer, worded as by Confluent's, is taken at its word."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from qmtl.foundation.errors import IncompatibleSchemaError, SchemaRegistryError
from qmtl.foundation.schema.compatibility.levels import Level
from qmtl.foundation.schema.documents import Reference, Schema, SchemaType
from qmtl.foundation.schema.registry.contract import Mode, Registered, Usage
from qmtl.foundation.schema.registry.remote import RemoteSchemaRegistryClient

INT = '"int"'
MISSING = (
    "{errorType:'READER_FIELD_MISSING_DEFAULT_VALUE', description:'The field 'f2' at path '/fields/1' in the"
    " new schema has no default value and is missing in the old schema', additionalInfo:'f2'}"
)
# What such a registry knows of version 3, without which it tells nothing of versions.
VERSION = "{oldSchemaVersion: 3}"
OLD = '{oldSchema: \'{"type":"record","name":"Bar","fields":[]}\'}'


def ending(level: str) -> str:
    return f"{{validateFields: 'false', compatibility: '{level}'}}"


@pytest.fixture
def other(scripted: Any, http: Any) -> Iterator[Callable[..., tuple[Any, RemoteSchemaRegistryClient]]]:
    """`other(*answers)` is a server that gives each (status, body) once, and a client of it."""
    made: list[RemoteSchemaRegistryClient] = []

    def begin(*answers: tuple[int, Any]) -> tuple[Any, RemoteSchemaRegistryClient]:
        server = scripted(*(http(status, body) for status, body in answers))
        made.append(RemoteSchemaRegistryClient(server.url, timeout_s=60))
        return server, made[-1]

    yield begin
    for one in made:
        one.close()


def asked(server: Any) -> list[str]:
    return [request.partition(" HTTP/")[0] for request in server.requests]


def test_a_registration_that_tells_its_id_alone_is_looked_up(other: Any) -> None:
    found = {
        "subject": "a",
        "version": 2,
        "id": 100_001,
        "schema": INT,
        "guid": "5b0f",
        "ts": 1_700_000_000_000,
    }
    server, registry = other((200, {"id": 100_001}), (200, found))
    assert registry.register("a", INT) == Registered("a", 2, 100_001, Schema(INT))
    assert asked(server) == ["POST /subjects/a/versions", "POST /subjects/a"]
    assert registry.by_id(100_001) == Schema(INT)
    assert len(server.requests) == 2


def test_what_is_sent_is_what_such_a_registry_reads(other: Any) -> None:
    server, registry = other((200, {"id": 1, "version": 1}), (200, {"schema": "{}", "schemaType": "JSON"}))
    schema = Schema('{"$ref": "x.json"}', SchemaType.JSON, (Reference("x.json", "x/y", 3),))
    registry.register("a b/c", schema, normalize=True, version=1, id=1)
    head, _, body = server.requests[0].partition("\r\n\r\n")
    lines = head.lower().split("\r\n")
    assert head.startswith("POST /subjects/a%20b%2Fc/versions?normalize=true HTTP/1.1")
    assert "content-type: application/vnd.schemaregistry.v1+json" in lines
    assert any(line.startswith("accept: application/vnd.schemaregistry.v1+json") for line in lines)
    assert json.loads(body) == {
        "schema": '{"$ref": "x.json"}',
        "schemaType": "JSON",
        "references": [{"name": "x.json", "subject": "x/y", "version": 3}],
        "version": 1,
        "id": 1,
    }


def test_avro_is_what_has_no_type(other: Any) -> None:
    server, registry = other(
        (200, {"subject": "a", "version": 1, "id": 1, "schema": INT, "references": None})
    )
    assert registry.lookup("a", INT).schema == Schema(INT)
    assert json.loads(server.requests[0].partition("\r\n\r\n")[2]) == {"schema": INT}


@pytest.mark.parametrize(
    ("level", "directions", "is_undecided"),
    [
        ("BACKWARD", ["backward"], False),
        ("FORWARD_TRANSITIVE", ["forward"], False),
        ("FULL", ["backward", "forward"], True),
    ],
)
def test_sentences_become_comparisons_that_claim_no_more(
    level: str, directions: list[str], is_undecided: bool, other: Any
) -> None:
    messages = [MISSING, VERSION, OLD, ending(level)]
    server, registry = other(
        (200, {"is_compatible": False, "messages": messages}), (200, {"compatibilityLevel": "NONE"})
    )
    found = registry.check("a", INT)
    assert asked(server)[0] == "POST /compatibility/subjects/a/versions?verbose=true&whole=true"
    assert [(one.version, one.direction) for one in found] == [(3, way) for way in directions]
    for one in found:
        assert [problem.message for problem in one.verdict.problems] == messages
        assert {problem.rule for problem in one.verdict.problems} == {"registry.message"}
        assert {problem.undecided for problem in one.verdict.problems} == {is_undecided}
        assert not one.verdict.is_compatible
        assert all(problem.counterexample is None for problem in one.verdict.problems)


def test_where_sentences_do_not_name_the_level_it_is_asked_for(other: Any) -> None:
    answers = [(200, {"is_compatible": False, "messages": []}), (200, {"compatibilityLevel": "FORWARD"})]
    server, registry = other(*answers)
    (one,) = registry.check("a", INT, version=7)
    assert (one.version, one.direction) == (7, "forward")
    assert [problem.message for problem in one.verdict.problems] == ["the registry gives no reason"]
    assert asked(server) == [
        "POST /compatibility/subjects/a/versions/7?verbose=true&whole=true",
        "GET /config/a?defaultToGlobal=true",
    ]
    server, registry = other(*answers)
    assert [one.version for one in registry.check("a", INT, version="latest")] == [0], "nobody told"


def test_a_compatible_schema_of_which_no_comparison_is_reported_has_none(other: Any) -> None:
    for answer in ({"is_compatible": True}, {"is_compatible": True, "messages": []}):
        assert other((200, answer))[1].check("a", INT) == ()


def test_a_refused_registration_carries_what_is_reported(other: Any) -> None:
    reported = (
        'Schema being registered is incompatible with an earlier schema for subject "a", details:'
        f" [{MISSING}, {VERSION}, {OLD}, {ending('BACKWARD')}]"
    )
    with pytest.raises(IncompatibleSchemaError) as error:
        other((409, {"error_code": 409, "message": reported}))[1].register("a", INT)
    assert (error.value.code, error.value.status) == (409, 409)
    (one,) = error.value.comparisons
    assert (one.version, one.direction) == (3, "backward")
    assert [problem.message for problem in one.verdict.problems] == [reported]


def test_a_verdict_that_contradicts_itself_is_no_answer(other: Any) -> None:
    detail = {"version": 1, "direction": "backward", "path": "", "rule": "r", "message": "m"}
    detail |= {"writer": 1, "reader": 2}
    pair = {"version": 1, "direction": "backward"}
    for body in (
        {"is_compatible": True, "compared": [pair], "details": [detail]},
        {"is_compatible": False, "compared": [pair], "details": []},
        {"is_compatible": False, "compared": [], "details": [detail]},
        {"is_compatible": False, "compared": [{**pair, "direction": "sideward"}], "details": [detail]},
    ):
        with pytest.raises(SchemaRegistryError, match="no schema registry"):
            other((200, body))[1].check("a", INT)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (404, 40401),
        (404, 40402),
        (404, 40403),
        (422, 42201),
        (422, 42202),
        (500, 50001),
        (500, 50002),
        (401, 40101),
    ],
)
def test_codes_are_those_that_were_reported(status: int, code: int, other: Any) -> None:
    with pytest.raises(SchemaRegistryError, match="as told") as error:
        other((status, {"error_code": code, "message": "as told"}))[1].version("a", 1)
    assert (error.value.code, error.value.status) == (code, status)


def test_levels_and_modes_have_the_names_of_question_and_change(other: Any) -> None:
    assert other((200, {"compatibilityLevel": "FULL", "normalize": False}))[1].level("a") is Level.FULL
    server, registry = other((200, {"compatibility": "FULL_TRANSITIVE"}))
    assert registry.set_level("full_transitive", "a/b") is Level.FULL_TRANSITIVE
    assert asked(server) == ["PUT /config/a%2Fb"]
    assert other((200, {"compatibility": "NONE"}))[1].clear_level("a") is Level.NONE
    server, registry = other((200, {"mode": "IMPORT"}))
    assert registry.set_mode(Mode.IMPORT, force=True) is Mode.IMPORT
    assert asked(server) == ["PUT /mode?force=true"]


def test_listings_are_asked_for_by_confluents_names(other: Any) -> None:
    server, registry = other((200, ["a"]))
    assert registry.subjects(prefix=":*:x", deleted=True) == ("a",)
    assert asked(server) == ["GET /subjects?subjectPrefix=%3A%2A%3A%3A%2A%3Ax&deleted=true"]
    server, registry = other((200, [{"subject": "a", "version": 4}]))
    assert registry.usages(9, deleted=True) == (Usage("a", 4),)
    assert asked(server) == ["GET /schemas/ids/9/versions?deleted=true"]
    server, registry = other((200, [3, 4]))
    assert registry.delete_subject("a", permanent=True) == (3, 4)
    assert asked(server) == ["DELETE /subjects/a?permanent=true"]
    server, registry = other((200, 4))
    assert registry.delete_version("a", "latest") == 4
    assert asked(server) == ["DELETE /subjects/a/versions/latest"]


@pytest.mark.parametrize("subject", [".", "..", "a/../b", "...", "%2e", "a.b"])
def test_a_subject_of_dots_stays_one_part_of_the_path(subject: str, other: Any) -> None:
    server, registry = other((200, [1]))
    registry.versions(subject)
    path = asked(server)[0].removeprefix("GET /subjects/").removesuffix("/versions")
    assert "/" not in path
    assert path not in (".", "..")
