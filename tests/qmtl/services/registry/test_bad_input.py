"""What a careless or hostile client sends: each gets an error with Confluent's code, and no more."""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any
from urllib.parse import quote

import httpx
import pytest

VENDOR = "application/vnd.schemaregistry.v1+json"
STRING = '{"type":"string"}'


def refused(answer: httpx.Response) -> tuple[int, int]:
    """Status and error code of a body that is an error's, and nothing else."""
    body = answer.json()
    assert {"error_code", "message"} <= set(body) <= {"error_code", "message", "details"}
    assert body["message"]
    assert answer.headers["content-type"] == VENDOR
    return answer.status_code, body["error_code"]


def register(http: httpx.Client, subject: str, schema: str, **more: Any) -> httpx.Response:
    return http.post(f"/subjects/{quote(subject, safe='')}/versions", json={"schema": schema, **more})


@pytest.mark.parametrize(
    "body",
    ["", "{", "nothing", "\x00", '{"schema": "\\', "[" * 10_000, '{"schema": 1' + "0" * 5_000 + "}"],
    ids=["empty", "cut", "a word", "zero", "cut in a string", "deep", "a long number"],
)
def test_a_body_that_is_not_json(http: httpx.Client, subject: str, body: str) -> None:
    answer = http.post(
        f"/subjects/{subject}/versions", content=body.encode(), headers={"content-type": VENDOR}
    )
    assert refused(answer) in {(400, 400), (422, 422)}
    assert refused(http.get(f"/subjects/{subject}/versions")) == (404, 40401)


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        "text",
        {},
        {"schema": None},
        {"schema": {"type": "string"}},
        {"schema": STRING, "references": {}},
        {"schema": STRING, "references": [{"name": "a", "subject": "b"}]},
        {"schema": STRING, "references": [{"name": "a", "subject": "b", "version": 2**31}]},
        {"schema": STRING, "metadata": {"properties": {}}},
        {"schema": STRING, "ruleSet": {"domainRules": []}},
        {"schema": STRING, "schemaTagsToAdd": [{"tags": ["a"]}]},
        {"schema": STRING, "propagateSchemaTags": True},
        {"schema": STRING, "id": 0},
        {"schema": STRING, "version": -1},
    ],
)
def test_a_body_of_another_shape(http: httpx.Client, subject: str, body: Any) -> None:
    answer = http.post(
        f"/subjects/{subject}/versions",
        content=json.dumps(body),
        headers={"content-type": "application/json"},
    )
    assert refused(answer) == (422, 422)
    assert refused(http.get(f"/subjects/{subject}/versions")) == (404, 40401)


DEEP = 10_000


@pytest.mark.parametrize(
    ("schema", "more"),
    [
        ("", {}),
        ("{", {}),
        ("\ud800", {}),
        ('{"type":"record"}', {}),
        ('"no such type"', {}),
        ('{"type":"array","items":' * DEEP + '"long"' + "}" * DEEP, {}),
        ('{"not":' * DEEP + "true" + "}" * DEEP, {"schemaType": "JSON"}),
        ("[" * 100_000, {"schemaType": "JSON"}),
        ('{"type":"nothing"}', {"schemaType": "JSON"}),
        ('{"a":1,"a":2}', {"schemaType": "JSON"}),
        ('{"const":"\\ud800"}', {"schemaType": "JSON"}),
        ('{"const":NaN}', {"schemaType": "JSON"}),
        ('syntax = "proto3";', {"schemaType": "PROTOBUF"}),
        ('"Missing"', {"references": [{"name": "Missing", "subject": "nowhere", "version": 1}]}),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_schema_that_cannot_be_read(
    http: httpx.Client, subject: str, schema: str, more: dict[str, Any]
) -> None:
    for path in (f"/subjects/{subject}/versions", f"/compatibility/subjects/{subject}/versions"):
        body = json.dumps({"schema": schema, **more})
        answer = http.post(path, content=body, headers={"content-type": VENDOR})
        assert refused(answer) == (422, 42201)
    assert refused(http.get(f"/subjects/{subject}/versions")) == (404, 40401)


def test_references_can_form_no_cycle(http: httpx.Client, subject: str) -> None:
    """What is referred to must be there before, so neither oneself nor a later version can be."""

    def uses(other: str, version: int) -> dict[str, Any]:
        references = [{"name": "urn:other", "subject": other, "version": version}]
        return {"schema": '{"$ref":"urn:other"}', "schemaType": "JSON", "references": references}

    a, b = f"{subject}-a", f"{subject}-b"
    assert refused(register(http, a, **uses(a, 1))) == (422, 42201)
    assert register(http, a, "true", schemaType="JSON").status_code == 200
    assert refused(register(http, b, **uses(a, 2))) == (422, 42201)
    assert register(http, b, **uses(a, 1)).json()["version"] == 1
    assert refused(register(http, a, **uses(a, 2))) == (422, 42201)
    assert http.get(f"/subjects/{a}/versions/1/referencedby").json() == [
        http.get(f"/subjects/{b}/versions/1").json()["id"]
    ]
    assert refused(http.delete(f"/subjects/{a}")) == (422, 42206)


def test_a_schema_of_five_megabytes(http: httpx.Client, subject: str) -> None:
    quotes = json.dumps({"description": '"' * 2_600_000})  # each is escaped twice on its way
    assert len(quotes) > 5 * 10**6
    answer = register(http, subject, quotes, schemaType="JSON")
    assert refused(answer) == (422, 42209)
    assert http.get("/healthz").json() == {"status": "ok"}


def test_a_body_that_is_too_long(http: httpx.Client, subject: str) -> None:
    answer = register(http, subject, "x" * (11 * 2**20))
    assert refused(answer) == (413, 413)
    assert http.get("/healthz").json() == {"status": "ok"}


def test_an_endless_body_is_cut_early(http: httpx.Client, subject: str) -> None:
    """It never says how long it is, and never ends: the answer comes all the same."""
    address = (http.base_url.host, http.base_url.port)
    sent = 0
    with socket.create_connection(address, timeout=60) as talk:
        talk.sendall(
            f"POST /subjects/{subject}/versions HTTP/1.1\r\nHost: x\r\nContent-Type: {VENDOR}\r\n"
            "Transfer-Encoding: chunked\r\n\r\n".encode()
        )
        part = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        try:
            while sent < 100 * 2**20:
                talk.sendall(part)
                sent += len(part)
        except (ConnectionResetError, BrokenPipeError):
            pass
    assert 10 * 2**20 < sent < 40 * 2**20
    assert http.get("/healthz").json() == {"status": "ok"}


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "json", ""]
)
def test_a_wrong_content_type(http: httpx.Client, subject: str, kind: str) -> None:
    answer = http.post(
        f"/subjects/{subject}/versions",
        content=json.dumps({"schema": STRING}),
        headers={"content-type": kind},
    )
    assert refused(answer) == (415, 415)
    assert refused(http.get(f"/subjects/{subject}/versions")) == (404, 40401)


def test_a_packed_body(http: httpx.Client, subject: str) -> None:
    place, body = f"/subjects/{subject}/versions", json.dumps({"schema": STRING}).encode()
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    answer = http.post(place, content=gzip.compress(body), headers=headers)
    assert refused(answer) == (415, 415)
    assert "'gzip' is not read here" in answer.json()["message"]
    assert answer.headers["accept-encoding"] == "identity"
    assert (
        http.post(place, content=body, headers=headers | {"content-encoding": "identity"}).status_code == 200
    )


def test_no_content_type(http: httpx.Client, subject: str) -> None:
    """A page of another site can send that without being asked whether it may."""
    content = json.dumps({"schema": STRING}).encode()
    assert refused(http.post(f"/subjects/{subject}/versions", content=content)) == (415, 415)


@pytest.mark.parametrize(
    "kind",
    [
        VENDOR,
        "application/vnd.schemaregistry+json",
        "application/json",
        "application/octet-stream",
        "Application/JSON; charset=utf-8",
    ],
)
def test_the_right_content_types(http: httpx.Client, subject: str, kind: str) -> None:
    answer = http.post(
        f"/subjects/{subject}/versions",
        content=json.dumps({"schema": STRING}),
        headers={"content-type": kind},
    )
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == VENDOR
    assert http.get(f"/subjects/{subject}/versions").json() == [1]


# Subjects

STRANGE = [
    "a/b", "a%b", "a b", "%2F", "a%2Fb", "..", ".", "a?b=c&d", "a#b", "+", "é\U0001f600", "x" * 255, "/", "%",
    " ", "versions", "a;b", "latest",
]  # fmt: skip


@pytest.mark.parametrize("name", STRANGE, ids=repr)
def test_a_strange_subject_works(http: httpx.Client, name: str) -> None:
    place = quote(name, safe="").replace(".", "%2E")
    done = http.post(f"/subjects/{place}/versions", json={"schema": STRING})
    assert done.status_code == 200, done.text
    assert name in http.get("/subjects").json()
    assert http.get(f"/subjects/{place}/versions/latest").json()["subject"] == name
    assert http.post(f"/subjects/{place}", json={"schema": STRING}).json()["version"] == 1
    assert http.put(f"/config/{place}", json={"compatibility": "FULL"}).json() == {"compatibility": "FULL"}
    assert http.get(f"/config/{place}").json() == {"compatibilityLevel": "FULL"}
    assert http.delete(f"/config/{place}").json() == {"compatibilityLevel": "FULL"}
    assert http.get(f"/subjects?subjectPrefix={place}").json()[0] == name
    assert http.delete(f"/subjects/{place}").json() == [1]
    assert name not in http.get("/subjects").json()


@pytest.mark.parametrize(
    "place", ["", "%00", "a%0Ab", "%7F", "%C2%85", "x" * 256, "%C3%A9" * 128, "%FF", "%C3", "%ED%A0%80"]
)
@pytest.mark.parametrize(
    "path", ["/subjects/{}/versions", "/subjects/{}/versions/1", "/config/{}", "/mode/{}"]
)
def test_a_subject_that_is_refused(http: httpx.Client, place: str, path: str) -> None:
    if place or path.startswith("/subjects"):  # a path that ends with `/` is the one without
        assert refused(http.get(path.format(place))) == (422, 42208)


def test_a_refused_subject_is_not_registered(http: httpx.Client) -> None:
    before = http.get("/subjects?deleted=true").json()
    for place in ("", "%00", "x" * 256):
        answer = http.post(f"/subjects/{place}/versions", json={"schema": STRING})
        assert refused(answer) == (422, 42208)
    assert http.get("/subjects?deleted=true").json() == before


# Parameters


@pytest.mark.parametrize(
    "version", ["0", "-2", "abc", "1.0", "2147483648", "9" * 30, "١", "+1", "%20", "1e3"]
)
def test_a_version_that_is_none(http: httpx.Client, subject: str, version: str) -> None:
    register(http, subject, STRING)
    assert refused(http.get(f"/subjects/{subject}/versions/{version}")) == (422, 42202)
    assert refused(http.delete(f"/subjects/{subject}/versions/{version}")) == (422, 42202)
    assert http.get(f"/subjects/{subject}/versions").json() == [1]


PLACES = ("", "/schema", "/subjects", "/versions")


@pytest.mark.parametrize("id", ["abc", "2147483648", "-2147483649", "9" * 30, "1.5", "%D9%A1", "1%20", "0x1"])
def test_an_id_that_is_none(http: httpx.Client, id: str) -> None:
    """To JAX-RS a path whose parameter cannot be read is not there."""
    for path in PLACES:
        answer = http.get(f"/schemas/ids/{id}{path}")
        assert refused(answer) == (404, 404)
        assert answer.json()["message"].startswith("HTTP 404 Not Found")


@pytest.mark.parametrize("id", ["2147483647", "0", "-1", "-2147483648", "+2147483647"])
def test_an_id_that_is_not_there(http: httpx.Client, id: str) -> None:
    for path in PLACES:
        assert refused(http.get(f"/schemas/ids/{id}{path}")) == (404, 40403)


def test_fields_that_nobody_knows_are_passed_over(http: httpx.Client, subject: str) -> None:
    more = {"unknown": 1, "metadata": None, "ruleSet": None, "schemaTagsToAdd": [], "version": 0, "id": -1}
    assert register(http, subject, STRING, **more).status_code == 200
    body = {"schema": STRING, **more}
    found = http.post(f"/subjects/{subject}", json=body)
    assert found.json()["version"] == 1
    reference = {"name": "x", "subject": subject, "version": 1, "unknown": None}
    assert register(http, f"{subject}-2", '"int"', references=[reference]).status_code == 200
    level = {"compatibility": "FULL", "unknown": {}, "alias": None, "normalize": False}
    assert http.put(f"/config/{subject}", json=level).json() == {"compatibility": "FULL"}
    mode = {"mode": "READWRITE", "unknown": {}}
    assert http.put(f"/mode/{subject}", json=mode).json() == {"mode": "READWRITE"}


@pytest.mark.parametrize(
    "more", [{"alias": "b"}, {"normalize": True}, {"defaultRuleSet": {"domainRules": []}}]
)
def test_settings_that_are_not_kept_are_refused(
    http: httpx.Client, subject: str, more: dict[str, Any]
) -> None:
    answer = http.put(f"/config/{subject}", json={"compatibility": "FULL", **more})
    assert refused(answer) == (422, 422)
    assert f"{next(iter(more))} is not kept here" in answer.json()["message"]
    assert refused(http.get(f"/config/{subject}")) == (404, 40408)


def test_a_look_up_of_what_is_no_schema(http: httpx.Client, subject: str) -> None:
    """Whether the subject is there or not."""
    for _ in range(2):
        for schema, kind in (
            ("", "AVRO"), ("{", "AVRO"), ('{"type":"record"}', "AVRO"), ('{"type":"nothing"}', "JSON"),
        ):  # fmt: skip
            answer = http.post(f"/subjects/{subject}", json={"schema": schema, "schemaType": kind})
            assert refused(answer) == (422, 42201)
        register(http, subject, STRING)


@pytest.mark.parametrize(
    "query",
    ["deleted=maybe", "deleted=", "deletedOnly=2", "offset=-1", "offset=x", "limit=1.5", "limit=9999999999"],
)
def test_a_parameter_that_is_none(http: httpx.Client, query: str) -> None:
    assert refused(http.get(f"/subjects?{query}")) == (422, 422)


@pytest.mark.parametrize("level", ["", "SIDEWAYS", "full transitive", "\x00"])
def test_a_level_or_mode_that_is_none(http: httpx.Client, subject: str, level: str) -> None:
    for place in ("", f"/{subject}"):
        assert refused(http.put(f"/config{place}", json={"compatibility": level})) == (422, 42203)
        assert refused(http.put(f"/mode{place}", json={"mode": level})) == (422, 42204)


@pytest.mark.parametrize(
    "path",
    [
        "/associations/resources/-/x",
        "/associations",
        "/nothing",
        "/subjects/a/b",
        "/schemas/ids",
        "/subj%65cts",
    ],
)
def test_a_path_that_is_none(http: httpx.Client, path: str) -> None:
    assert refused(http.get(path)) == (404, 404)


def test_a_method_that_is_none(http: httpx.Client) -> None:
    answer = http.patch("/subjects/x/versions")
    assert refused(answer) == (405, 405)
    assert answer.headers["allow"] == "GET, HEAD, POST"


@pytest.fixture
def talk(http: httpx.Client) -> Iterator[Callable[[bytes], bytes]]:
    """Sends bytes that are not quite HTTP, and gives what comes back until the connection ends."""

    def send(words: bytes) -> bytes:
        address = (http.base_url.host, http.base_url.port)
        with socket.create_connection(address, timeout=60) as line:
            line.sendall(words)
            line.shutdown(socket.SHUT_WR)
            reported = b""
            while part := line.recv(65_536):
                reported += part
            return reported

    yield send
    assert http.get("/healthz").json() == {"status": "ok"}


def test_a_client_that_leaves_in_the_middle_has_asked_for_nothing(http: httpx.Client, subject: str) -> None:
    """What came is a whole body by chance, but not the one that was announced."""
    address = (http.base_url.host, http.base_url.port)
    body = json.dumps({"schema": STRING}).encode()
    head = f"POST /subjects/{subject}/versions HTTP/1.1\r\nHost: x\r\nContent-Type: {VENDOR}\r\n"
    for size in (len(body) + 1, len(body)):
        with socket.create_connection(address) as line:
            line.sendall(f"{head}Content-Length: {size}\r\n\r\n".encode() + body)
            if size > len(body):
                line.shutdown(socket.SHUT_WR)
            reported = line.recv(65_536)
        assert (b" 200 " in reported) == (size == len(body))
        found = http.get(f"/subjects/{subject}/versions")
        assert (found.status_code == 200) == (size == len(body))


@pytest.mark.parametrize(
    "words",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"POST /subjects/x/versions HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /subjects/x/versions HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n",
        b"POST /mode HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_bytes_that_are_no_request(talk: Callable[[bytes], bytes], words: bytes) -> None:
    assert b" 200 " not in talk(words)


def test_many_clients_that_send_half_a_request_block_nobody(http: httpx.Client) -> None:
    address = (http.base_url.host, http.base_url.port)
    with ExitStack() as idle, ThreadPoolExecutor(8) as pool:
        for _ in range(100):
            one = idle.enter_context(socket.create_connection(address))
            one.sendall(b"POST /subjects/x/versions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf")
        answers = list(pool.map(lambda _: http.get("/subjects").status_code, range(50)))
    assert answers == [200] * 50
