"""The server decides nothing: it answers what a registry in this process answers to the same calls."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmtl.foundation.errors import SchemaRegistryError
from qmtl.foundation.schema.documents import Reference, Schema, SchemaType
from qmtl.foundation.schema.registry.client import SchemaRegistryClient
from qmtl.runtime.testing.registry_suite import RegistrySuite
from qmtl.services.registry.app import make_app
from qmtl.services.registry.sqlite import SqliteStorage

Process = Any  # a RegistryProcess of conftest.py


class TestOverTheFile(RegistrySuite):
    """The rules hold over rows in a file as they do over rows in memory."""

    @pytest.fixture
    def registry(self, tmp_path: Any) -> Any:
        client = SchemaRegistryClient(SqliteStorage(tmp_path))
        yield client
        client.close()


class Call(NamedTuple):
    """One call of a registry: over HTTP, and in this process with what it gives as a value of JSON."""

    method: str
    path: str
    query: dict[str, Any]
    body: dict[str, Any] | None
    here: Callable[[SchemaRegistryClient], Any]

    def __repr__(self) -> str:
        return f"{self.method} {self.path} {self.query} {self.body}"


SUBJECTS = ["a", "a/b", "é %"]
TEXTS = [
    '{"type":"record","name":"R","fields":[]}',
    '{"type":"record","name":"R","fields":[{"name":"x","type":"long"}]}',
    '{"type": "record", "name": "R", "fields": [{"name": "x", "type": "long", "default": 0}]}',
    '{"name":"R","type":"record","fields":[{"default":0,"name":"x","type":"long"}]}',
    '{"type":"record","name":"R","fields":[{"name":"x","type":"string","default":""}]}',
    '{"type":"array","items":"R"}',
    '"long"',
    '"nothing"',
    "{",
]
JSON_TEXTS = ["true", "false", '{"type":"object"}', '{"minimum":0,"type":"number"}', '{"$ref":"R"}', "[]"]


def schema_json(schema: Schema) -> dict[str, Any]:
    reported: dict[str, Any] = {"schema": schema.text}
    if schema.type is SchemaType.JSON:
        reported["schemaType"] = "JSON"
    if schema.references:
        reported["references"] = [{"name": n, "subject": s, "version": v} for n, s, v in schema.references]
    return reported


def version_json(found: Any) -> dict[str, Any]:
    subject, version, id, schema, _ = found
    return {"subject": subject, "version": version, "id": id, **schema_json(schema)}


def verdict_json(comparisons: Any) -> dict[str, Any]:
    problems = [
        (number, direction, problem)
        for number, direction, verdict in comparisons
        for problem in verdict.problems
    ]
    notices = [
        {"version": number, "direction": direction, "path": path, "rule": rule, "message": message}
        for number, direction, verdict in comparisons
        for path, rule, message in [(n.path, n.rule, n.message) for n in verdict.notices]
    ]
    details = []
    for number, direction, problem in problems:
        one = {"version": number, "direction": direction, "message": problem.message}
        one |= {"path": problem.path, "rule": problem.rule}
        one |= {"writer": problem.writer, "reader": problem.reader}
        if problem.counterexample is not None:
            one["counterexample"] = problem.counterexample.value
        if problem.undecided:
            one["undecided"] = True
        details.append(one)
    return {
        "is_compatible": not problems,
        "messages": [f"version {number}, {way}: {one.message}" for number, way, one in problems],
        "compared": [{"version": number, "direction": way} for number, way, _ in comparisons],
        "details": details,
        "notices": notices,
    }


@st.composite
def calls(draw: st.DrawFn) -> Call:
    subject = draw(st.sampled_from(SUBJECTS))
    version = draw(st.sampled_from([1, 2, 3, "latest"]))
    id = draw(st.integers(0, 5))
    yes, also = draw(st.booleans()), draw(st.booleans())
    place = quote(subject, safe="")
    at = f"/subjects/{place}/versions/{version}"

    kind = draw(st.sampled_from(SchemaType))
    text = draw(st.sampled_from(TEXTS if kind is SchemaType.AVRO else JSON_TEXTS))
    references = ()
    if draw(st.booleans()) and "R" in text:
        references = (Reference("R", draw(st.sampled_from(SUBJECTS)), draw(st.integers(1, 2))),)
    schema = Schema(text, kind, references)
    body = schema_json(schema)

    def registered(registry: SchemaRegistryClient, **more: Any) -> Any:
        done = registry.register(subject, schema, normalize=yes, **more)
        return {"id": done.id, "version": done.version}

    level = draw(st.sampled_from(["NONE", "FULL", "forward_transitive", "sideways"]))
    mode = draw(st.sampled_from(["READWRITE", "READWRITE", "READONLY", "IMPORT", "sideways"]))
    whose, setting = draw(st.sampled_from([(None, ""), (subject, f"/{place}")]))
    register = Call("POST", f"/subjects/{place}/versions", {"normalize": yes}, body, registered)
    imported = {"version": draw(st.integers(1, 3)), "id": draw(st.integers(1, 5))}
    return draw(
        st.sampled_from(
            [
                register,
                register,
                register,
                register._replace(body=body | imported, here=lambda r: registered(r, **imported)),
                Call(
                    "POST",
                    f"/subjects/{place}",
                    {"normalize": yes, "deleted": also},
                    body,
                    lambda r: version_json(r.lookup(subject, schema, normalize=yes, deleted=also)),
                ),
                Call(
                    "POST",
                    f"/compatibility{at}",
                    {"verbose": True, "normalize": yes},
                    body,
                    lambda r: verdict_json(r.check(subject, schema, version=version, normalize=yes)),
                ),
                Call(
                    "POST",
                    f"/compatibility/subjects/{place}/versions",
                    {"verbose": True},
                    body,
                    lambda r: verdict_json(r.check(subject, schema)),
                ),
                Call(
                    "GET",
                    at,
                    {"deleted": yes},
                    None,
                    lambda r: version_json(r.version(subject, version, deleted=yes)),
                ),
                Call(
                    "GET", f"{at}/referencedby", {}, None, lambda r: list(r.referenced_by(subject, version))
                ),
                Call(
                    "DELETE",
                    at,
                    {"permanent": yes},
                    None,
                    lambda r: r.delete_version(subject, version, permanent=yes),
                ),
                Call(
                    "DELETE",
                    f"/subjects/{place}",
                    {"permanent": yes},
                    None,
                    lambda r: list(r.delete_subject(subject, permanent=yes)),
                ),
                Call(
                    "GET",
                    "/subjects",
                    {"deleted": yes, "deletedOnly": also, "subjectPrefix": "a"},
                    None,
                    lambda r: list(r.subjects(prefix="a", deleted=yes, deleted_only=also)),
                ),
                Call(
                    "GET",
                    f"/subjects/{place}/versions",
                    {"deleted": yes, "deletedOnly": also, "offset": 1, "limit": 1},
                    None,
                    lambda r: list(r.versions(subject, deleted=yes, deleted_only=also))[1:2],
                ),
                Call("GET", f"/schemas/ids/{id}", {}, None, lambda r: schema_json(r.by_id(id))),
                Call(
                    "GET",
                    f"/schemas/ids/{id}/versions",
                    {"deleted": yes},
                    None,
                    lambda r: [{"subject": s, "version": v} for s, v in r.usages(id, deleted=yes)],
                ),
                Call(
                    "PUT",
                    f"/config{setting}",
                    {},
                    {"compatibility": level},
                    lambda r: {"compatibility": r.set_level(level, whose)},
                ),
                Call(
                    "GET",
                    f"/config{setting}",
                    {"defaultToGlobal": yes} if whose else {},
                    None,
                    lambda r: {"compatibilityLevel": r.level(whose, or_global=yes)},
                ),
                Call(
                    "DELETE",
                    f"/config{setting}",
                    {},
                    None,
                    lambda r: {"compatibilityLevel": r.clear_level(whose)},
                ),
                Call(
                    "PUT",
                    f"/mode{setting}",
                    {"force": yes},
                    {"mode": mode},
                    lambda r: {"mode": r.set_mode(mode, whose, force=yes)},
                ),
                Call("DELETE", f"/mode{setting}", {}, None, lambda r: {"mode": r.clear_mode(whose)}),
            ]
        )
    )


def here(registry: SchemaRegistryClient, call: Call) -> tuple[int, Any]:
    """Status and body that the call must have."""
    try:
        return 200, call.here(registry)
    except SchemaRegistryError as refused:
        return refused.code // 100, refused.code


async def there(send: Callable[..., Awaitable[httpx.Response]], call: Call) -> tuple[int, Any]:
    answer = await send(call.method, call.path, params=call.query, json=call.body)
    reported = answer.json()
    return answer.status_code, reported if answer.status_code == 200 else reported["error_code"]


@settings(max_examples=50)
@given(st.lists(calls(), max_size=25))
def test_the_same_calls_get_the_same_answers(sequence: list[Call]) -> None:
    async def play() -> None:
        registry = SchemaRegistryClient()
        with tempfile.TemporaryDirectory() as folder:
            storage = SqliteStorage(folder)
            transport = httpx.ASGITransport(app=make_app(storage))
            async with httpx.AsyncClient(transport=transport, base_url="http://registry") as http:
                for call in sequence:
                    assert await there(http.request, call) == here(registry, call), call
            storage.close()

    asyncio.run(play())


@pytest.fixture(scope="module")
def twins(serve: Callable[..., Process]) -> tuple[str, SchemaRegistryClient]:
    """A server and a registry of this process, which are told the same from their beginnings on."""
    return serve().url, SchemaRegistryClient()


@settings(max_examples=15)
@given(st.lists(calls(), max_size=25))
def test_the_real_process_gives_them_too(
    twins: tuple[str, SchemaRegistryClient], sequence: list[Call]
) -> None:
    url, registry = twins

    async def play() -> None:
        async with httpx.AsyncClient(base_url=url, timeout=60) as http:
            for call in sequence:
                assert await there(http.request, call) == here(registry, call), call
            everything = (await http.get("/schemas?deleted=true")).json()
            assert everything == [
                version_json(registry.version(subject, version, deleted=True))
                for subject in registry.subjects(deleted=True)
                for version in registry.versions(subject, deleted=True)
            ]

    asyncio.run(play())


def test_an_incompatible_registration_says_why() -> None:
    """The body of a 409 has the details of the check that refused it."""

    async def play() -> None:
        with tempfile.TemporaryDirectory() as folder:
            storage = SqliteStorage(folder)
            transport = httpx.ASGITransport(app=make_app(storage))
            async with httpx.AsyncClient(transport=transport, base_url="http://registry") as http:
                await http.post("/subjects/s/versions", json={"schema": TEXTS[1]})
                changed = {"schema": TEXTS[4]}
                refused = await http.post("/subjects/s/versions", json=changed)
                checked = await http.post(
                    "/compatibility/subjects/s/versions/latest?verbose=true", json=changed
                )
                brief = await http.post("/compatibility/subjects/s/versions/latest", json=changed)
            storage.close()
        assert (refused.status_code, refused.json()["error_code"]) == (409, 40901)
        assert brief.json() == {"is_compatible": False}
        (detail,) = checked.json()["details"]
        assert refused.json()["details"] == [detail]
        assert (detail["version"], detail["direction"], detail["path"]) == (1, "backward", "/R/x")
        assert (detail["writer"], detail["reader"]) == ("long", "string")
        assert set(detail["counterexample"]) == {"x"}
        (sentence,) = checked.json()["messages"]
        assert sentence.startswith("version 1, backward: ")
        assert sentence.endswith(detail["message"])

    asyncio.run(play())
