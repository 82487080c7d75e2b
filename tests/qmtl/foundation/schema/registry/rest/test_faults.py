"""Whatever answers, or does not: a clear error in time, reads asked again, and writes never repeated."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from qmtl.foundation.errors import (
    InvalidRequestError,
    QmtlError,
    RegistryUnavailableError,
    SchemaRegistryError,
)
from qmtl.foundation.schema.documents import Schema
from qmtl.foundation.schema.registry.contract import Registered
from qmtl.foundation.schema.registry.remote import RemoteSchemaRegistryClient
from qmtl.foundation.schema.registry.rest.connection import UnansweredError
from tests.qmtl.ports import free_port

INT = Schema('"int"')
FOUND = {"subject": "a", "version": 3, "id": 7, "schema": '"int"'}


@pytest.fixture
def client() -> Any:
    made: list[RemoteSchemaRegistryClient] = []

    def make(url: str, **options: Any) -> RemoteSchemaRegistryClient:
        made.append(RemoteSchemaRegistryClient(url, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.mark.parametrize(
    "bad",
    [
        "reset",
        b"",
        b"HTTP/1.1 200 OK\r\ncontent-le",
        b'HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"schema": "',
        b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 6\r\n\r\n<html>",
        b"HTTP/1.1 504 Gateway Timeout\r\ncontent-length: 0\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ],
)
def test_a_read_is_asked_again_after_a_fault(
    bad: Any, scripted: Any, http: Any, client: Callable[..., RemoteSchemaRegistryClient]
) -> None:
    server = scripted(bad, bad, http(200, {"schema": '"int"'}))
    assert client(server.url).by_id(7) == INT
    assert len(server.requests) == 3


def test_a_read_is_asked_three_times_and_no_more(scripted: Any, http: Any, client: Any) -> None:
    server = scripted(http(503, {"error_code": 50302, "message": "away"}))
    with pytest.raises(RegistryUnavailableError, match="503") as error:
        client(server.url).check("a", INT)
    assert len(server.requests) == 3
    assert error.value.url == server.url
    assert isinstance(error.value, ConnectionError)
    assert server.url in str(error.value)
    assert error.value.next_step


@pytest.mark.parametrize("bad", ["reset", b"", b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n"])
def test_a_registration_without_an_answer_is_looked_for(
    bad: Any, scripted: Any, http: Any, client: Any
) -> None:
    server = scripted(bad, http(200, FOUND))
    assert client(server.url).register("a", INT, normalize=True) == Registered("a", 3, 7, INT)
    first, second = (request.partition(" HTTP")[0] for request in server.requests)
    assert first == "POST /subjects/a/versions?normalize=true"
    assert second == "POST /subjects/a?normalize=true"


def test_a_registration_that_is_not_found_says_so(scripted: Any, http: Any, client: Any) -> None:
    server = scripted("reset", http(404, {"error_code": 40403, "message": "not there"}))
    with pytest.raises(UnansweredError, match="may have been made, or not") as error:
        client(server.url).register("a", INT)
    assert len(server.requests) == 2
    assert isinstance(error.value.__cause__, SchemaRegistryError)


def test_a_registration_with_another_id_than_wanted_is_not_taken(
    scripted: Any, http: Any, client: Any
) -> None:
    server = scripted("reset", http(200, FOUND))
    with pytest.raises(UnansweredError):
        client(server.url).register("a", INT, version=3, id=8)


@pytest.mark.parametrize(
    "change",
    [
        lambda registry: registry.delete_subject("a"),
        lambda registry: registry.delete_version("a", 1),
        lambda registry: registry.set_level("FULL"),
        lambda registry: registry.clear_level("a"),
        lambda registry: registry.set_mode("READONLY", "a"),
        lambda registry: registry.clear_mode(),
    ],
)
def test_a_change_is_sent_once(change: Callable[[Any], Any], scripted: Any, client: Any) -> None:
    server = scripted("reset")
    with pytest.raises(UnansweredError, match="may have been made, or not"):
        change(client(server.url))
    assert len(server.requests) == 1


def test_where_nothing_listens_a_change_was_not_made(client: Any) -> None:
    registry = client(f"http://127.0.0.1:{free_port()}")
    for ask in (lambda: registry.register("a", INT), lambda: registry.by_id(1), registry.subjects):
        with pytest.raises(RegistryUnavailableError, match="cannot be reached") as error:
            ask()
        assert not isinstance(error.value, UnansweredError)


@pytest.mark.parametrize("part", ["hang", "drip"])
def test_the_time_out_bounds_the_whole_call(part: str, scripted: Any, client: Any) -> None:
    registry = client(scripted(part).url, timeout_s=0.3)
    began = time.monotonic()
    with pytest.raises(RegistryUnavailableError):
        registry.by_id(1)
    # The bound is twice the time-out, for a byte may come at its very end; the rest is for a busy machine.
    assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, b"<html>Sign in</html>", "text/html"),
        (200, b"", "application/json"),
        (200, b"\xff\xfe", "application/json"),
        (200, b"[" * 100_000, "application/json"),
        (200, [], "application/json"),
        (200, {}, "application/json"),
        (200, {"schema": 5}, "application/json"),
        (200, {"schema": '"int"', "references": [{"name": "x"}]}, "application/json"),
        (200, {"schema": '"int"', "references": 7}, "application/json"),
        (204, b"", "application/json"),
        (301, b"", "text/html"),
        (404, b"<html>Not found</html>", "text/html"),
        (404, {"detail": "Not Found"}, "application/json"),
        (404, {"error_code": "40403", "message": "x"}, "application/json"),
        (500, b"Internal Server Error", "text/plain"),
        (500, None, "application/json"),
    ],
)
def test_what_is_no_registry_is_reported(
    status: int, body: Any, kind: str, scripted: Any, http: Any, client: Any
) -> None:
    server = scripted(http(status, body, kind=kind))
    with pytest.raises(RegistryUnavailableError, match="no schema registry") as error:
        client(server.url).by_id(1)
    assert len(server.requests) == 1
    assert error.value.why


@pytest.mark.parametrize(
    "ask",
    [
        lambda registry: registry.subjects(),
        lambda registry: registry.versions("a"),
        lambda registry: registry.usages(1),
        lambda registry: registry.version("a", 1),
        lambda registry: registry.lookup("a", INT),
        lambda registry: registry.referenced_by("a", 1),
        lambda registry: registry.check("a", INT),
        lambda registry: registry.level(),
        lambda registry: registry.mode("a"),
        lambda registry: registry.register("a", INT),
        lambda registry: registry.delete_subject("a"),
        lambda registry: registry.delete_version("a", 1),
        lambda registry: registry.set_level("FULL"),
    ],
)
@pytest.mark.parametrize("body", [None, True, "text", 1.5, [None], {"is_compatible": "yes"}, {"mode": "ODD"}])
def test_other_json_is_no_answer(
    ask: Callable[[Any], Any], body: Any, scripted: Any, http: Any, client: Any
) -> None:
    with pytest.raises(RegistryUnavailableError, match="no schema registry"):
        ask(client(scripted(http(200, body)).url))


def test_an_answer_without_an_end_is_cut(scripted: Any, client: Any) -> None:
    chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    endless = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunk * 70
    with pytest.raises(RegistryUnavailableError, match="more than"):
        client(scripted(endless).url).by_id(1)


def test_a_refusal_of_the_server_itself_keeps_its_code(scripted: Any, http: Any, client: Any) -> None:
    server = scripted(http(500, {"error_code": 50001, "message": "the disk is full"}))
    with pytest.raises(SchemaRegistryError, match="the disk is full") as error:
        client(server.url).register("a", INT)
    assert (error.value.code, error.value.status) == (50001, 500)
    assert len(server.requests) == 1


def test_a_schema_in_a_language_that_is_not_read_is_reported(scripted: Any, http: Any, client: Any) -> None:
    server = scripted(http(200, {"schema": "message A {}", "schemaType": "PROTOBUF"}))
    with pytest.raises(SchemaRegistryError, match="PROTOBUF") as error:
        client(server.url).by_id(1)
    assert error.value.code == 42201


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:8081",
        "ftp://host",
        "http://",
        "http://:8081",
        "http://host:0",
        "http://host:99999",
        "http://host:port",
        "http://[::1",
        "http://host?x=1",
        "http://host#x",
        "http://user:secret@host:port",
    ],
)
def test_an_url_that_is_none_is_refused_without_its_secrets(url: str) -> None:
    with pytest.raises(InvalidRequestError) as error:
        RemoteSchemaRegistryClient(url)
    assert "secret" not in str(error.value)
    assert error.value.next_step


def test_without_httpx_the_extra_is_named() -> None:
    script = (
        "import sys; sys.modules['httpx'] = None\n"
        "from qmtl import MissingDependencyError\n"
        "from qmtl.foundation.schema import RemoteSchemaRegistryClient\n"
        "try: RemoteSchemaRegistryClient('http://127.0.0.1:1').by_id(1)\n"
        "except MissingDependencyError as error: print(error.extra)"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ended.stdout == "schemas\n"


def test_all_errors_are_of_the_tree() -> None:
    assert issubclass(UnansweredError, RegistryUnavailableError)
    assert issubclass(RegistryUnavailableError, QmtlError)
