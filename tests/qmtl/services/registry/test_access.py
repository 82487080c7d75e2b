"""Credentials and roles, and what is said over TLS."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

from qmtl.foundation.errors import InvalidRequestError
from qmtl.services.http.access import Credentials, Role, password_hash, token_hash
from qmtl.services.http.serving import Place, serve_guarded
from qmtl.services.registry.app import role_for
from tests.qmtl.certificates import self_signed

Process = Any  # a RegistryProcess of conftest.py
QMTL = Path(sys.executable).with_name("qmtl")
STRING = {"schema": '{"type":"string"}'}

# Fast hashes of the RFC's own form; real ones cost some tens of milliseconds each.
USERS = {"reader": "r:with:colons", "writer": "ẃ", "admin": "a"}
TOKENS = {"reader": "read-token", "writer": "write-token", "admin": "admin-token"}
ROLES = {"reader": "read", "writer": "write", "admin": "admin"}


@pytest.fixture(scope="module")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("auth") / "auth.json"
    reported = {
        "users": {n: {"role": ROLES[n], "scrypt": password_hash(p)} for n, p in USERS.items()},
        "tokens": {n: {"role": ROLES[n], "sha256": token_hash(t)} for n, t in TOKENS.items()},
    }
    path.write_text(json.dumps(reported))
    return path


@pytest.fixture(scope="module")
def guarded(serve: Callable[..., Process], credentials: Path) -> Process:
    return serve("--auth", credentials)


@pytest.fixture(scope="module")
def http(guarded: Process) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=guarded.url, timeout=60) as client:
        yield client


def basic(name: str, password: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


WRONG = [
    {},
    {"authorization": ""},
    {"authorization": "Basic"},
    {"authorization": "Basic !!!"},
    {"authorization": "Basic " + base64.b64encode(b"reader").decode()},
    {"authorization": "Basic " + base64.b64encode(b"\xff:\xff").decode()},
    basic("reader", ""),
    basic("reader", "r"),
    basic("", ""),
    basic("nobody", "r:with:colons"),
    basic("admin", token_hash("a")),
    {"authorization": "Bearer"},
    bearer("read-toke"),
    bearer(token_hash("read-token")),
    {"authorization": "Digest username=reader"},
    {"authorization": "Bearer \xff"},
]


@pytest.mark.parametrize("headers", WRONG, ids=str)
def test_no_or_wrong_credentials(http: httpx.Client, headers: dict[str, str]) -> None:
    sent = {name: value.encode("latin-1") for name, value in headers.items()}
    for path in ("/subjects", "/metrics", "/openapi.json", "/docs", "/nothing"):
        answer = http.get(path, headers=sent)
        assert (answer.status_code, answer.json()["error_code"]) == (401, 401)
        challenges = answer.headers.get_list("www-authenticate")
        assert [challenge.split()[0] for challenge in challenges] == ["Basic", "Bearer"]


def test_whether_it_lives_is_for_everybody(http: httpx.Client) -> None:
    assert http.get("/healthz").json() == {"status": "ok"}
    assert http.get("/readyz").json() == {"status": "ready"}


def test_a_body_is_not_read_without_credentials(http: httpx.Client) -> None:
    answer = http.post("/subjects/s/versions", content=b"{", headers={"content-type": "text/plain"})
    assert answer.status_code == 401


# What each role may do: method, path, body, and the least role.
DEEDS = [
    ("GET", "/subjects", None, "reader"),
    ("GET", "/metrics", None, "reader"),
    ("POST", "/subjects/s", STRING, "reader"),
    ("POST", "/compatibility/subjects/s/versions", STRING, "reader"),
    ("POST", "/compatibility/subjects/s/versions/latest", STRING, "reader"),
    ("POST", "/subjects/s/versions", STRING, "writer"),
    ("POST", "/subjects/s/versions/", STRING, "writer"),
    ("DELETE", "/subjects/s/versions/1", None, "writer"),
    ("DELETE", "/subjects/s", None, "writer"),
    ("DELETE", "/subjects/s?permanent=true", None, "admin"),
    ("DELETE", "/subjects/s?perm%61nent=true", None, "admin"),
    ("DELETE", "/subjects/s?permanent=false&permanent=true", None, "admin"),
    ("DELETE", "/subjects/s/versions/1?permanent=True", None, "admin"),
    ("PUT", "/config", {"compatibility": "FULL"}, "admin"),
    ("PUT", "/config/s", {"compatibility": "FULL"}, "admin"),
    ("DELETE", "/config/s", None, "admin"),
    ("PUT", "/mode?force=true", {"mode": "READWRITE"}, "admin"),
    ("PUT", "/mode/s", {"mode": "READWRITE"}, "admin"),
    ("DELETE", "/mode", None, "admin"),
]


@pytest.mark.parametrize("deed", DEEDS, ids=lambda deed: f"{deed[0]} {deed[1]}")
def test_what_each_role_may_do(http: httpx.Client, deed: tuple[str, str, Any, str]) -> None:
    method, path, body, least = deed
    names = list(ROLES)
    for name in names:
        for headers in (basic(name, USERS[name]), bearer(TOKENS[name])):
            answer = http.request(method, path, json=body, headers=headers)
            if names.index(name) < names.index(least):
                assert (answer.status_code, answer.json()["error_code"]) == (403, 403)
                assert ROLES[least] in answer.json()["message"]
            else:
                assert answer.status_code not in (401, 403), answer.text


def test_a_password_is_stretched_once(http: httpx.Client, guarded: Process) -> None:
    """Confluent's clients send it with each request."""
    headers = basic("reader", USERS["reader"])
    http.get("/subjects", headers=headers)

    def worked() -> float:
        spent = psutil.Process(guarded.process.pid).cpu_times()
        return float(spent.user + spent.system)

    before = worked()
    answers = [http.get("/subjects", headers=headers) for _ in range(50)]
    assert all(answer.status_code == 200 for answer in answers)
    assert worked() - before < 50 * 0.02, "a stretched one takes more than 20 ms"


def test_confluent_s_client_with_credentials(guarded: Process) -> None:
    user = {"basic.auth.user.info": f"writer:{USERS['writer']}"}
    with SchemaRegistryClient({"url": guarded.url, **user}) as client:
        id = client.register_schema("by-confluent", Schema(STRING["schema"]))
        assert client.get_schema(id).schema_str == '"string"'


# The file of credentials


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it names nobody"),
        ("users: {}", "it names nobody"),
        ("user: {a: {}}", "'user' is not known"),
        ("users: {a: secret}", "users.a must hold 'role' and 'scrypt'"),
        ("users: {a: {role: read, password: secret}}", "users.a must hold"),
        ("users: {a: {role: root, scrypt: x}}", "is 'root', not read, write or admin"),
        ("users: {a: {role: read, scrypt: secret}}", "no such hash"),
        ("users: {a: {role: read, scrypt: '16383:8:1:AAAA:AAAA'}}", "no such hash"),
        ("tokens: {a: {role: read, sha256: secret}}", "no such hash"),
        ("tokens: {a: {role: read, sha256: abcd}}", "no such hash"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "auth.yml"
    path.write_text(text)
    with pytest.raises(InvalidRequestError) as refused:
        Credentials.read(path)
    assert why in str(refused.value)


def test_a_file_that_is_not_there_is_bad_input(tmp_path: Path) -> None:
    command = [QMTL, "serve", "registry", "--store", tmp_path / "r", "--auth", tmp_path / "none.yml"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 2
    assert "none.yml cannot be read" in done.stderr


def test_hashes_of_one_password_differ_and_both_fit(tmp_path: Path) -> None:
    one, two = password_hash("p"), password_hash("p")
    assert one != two
    path = tmp_path / "auth.yml"
    path.write_text(f"users:\n  a: {{role: read, scrypt: '{one}'}}\n  b: {{role: admin, scrypt: '{two}'}}\n")
    found = Credentials.read(path)
    assert found.remembered(basic("a", "p")["authorization"]) is None
    assert found.role_of(basic("a", "p")["authorization"]) is Role.READ
    assert found.role_of(basic("b", "p")["authorization"]) is Role.ADMIN
    assert found.remembered(basic("a", "p")["authorization"]) is Role.READ
    assert found.role_of(basic("a", "q")["authorization"]) is None
    assert "p" not in path.read_text().split("'")[1].split(":")


@pytest.mark.parametrize("method", ["SPAM", "PATCH", "TRACE", "CONNECT"])
def test_what_is_not_known_needs_the_highest_role(method: str) -> None:
    assert role_for(method, "/subjects", b"") is Role.ADMIN
    assert role_for(method, "*", b"") is Role.ADMIN


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return self_signed(tmp_path_factory.mktemp("tls"))


def test_confluent_s_client_over_tls(
    serve: Callable[..., Process], certificate: tuple[Path, Path], credentials: Path
) -> None:
    cert, key = certificate
    # With both, other machines may come in.
    server = serve("--tls-cert", cert, "--tls-key", key, "--auth", credentials, "--host", "0.0.0.0")
    url = server.url.replace("0.0.0.0", "127.0.0.1")
    assert url.startswith("https://127.0.0.1:")
    reported = {"url": url, "ssl.ca.location": str(cert), "basic.auth.user.info": "admin:a"}
    with SchemaRegistryClient(reported) as client:
        client.register_schema("s", Schema(STRING["schema"]))
        assert client.get_subjects() == ["s"]
    with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
        httpx.get(f"{url}/subjects", timeout=60)
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{url.replace('https', 'http')}/subjects", timeout=60)


def test_a_certificate_that_cannot_be_used(certificate: tuple[Path, Path], tmp_path: Path) -> None:
    cert, key = certificate
    other = tmp_path / "other.pem"
    other.write_text("no key")
    for files in ((cert, None), (None, key), (cert, tmp_path / "none.pem"), (cert, other), (key, key)):
        with pytest.raises(InvalidRequestError, match="certificate"):
            serve_guarded(
                lambda _: pytest.fail("opened"),
                Place("127.0.0.1", 0, *files),
                auth=None,
                unprotected=False,
                ready=pytest.fail,
            )
