"""A service writes its routes alone: a toy of two routes has all that a service needs from services/http."""

from __future__ import annotations

import ast
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from qmtl.services.http.access import token_hash

TOY = Path(__file__).with_name("toy_service.py")
READER, WRITER = ({"authorization": f"Bearer {token}"} for token in ("read-token", "write-token"))


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    auth = tmp_path_factory.mktemp("toy") / "auth.yml"
    tokens = {role: {"role": role, "sha256": token_hash(f"{role}-token")} for role in ("read", "write")}
    auth.write_text(f"tokens: {tokens}\n")
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [sys.executable, TOY, auth], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


@pytest.fixture(scope="module")
def http(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=60) as client:
        yield client


def test_it_is_small() -> None:
    """Code lines from the first class on, the start of the server included."""
    text = TOY.read_text()
    first = next(node for node in ast.parse(text).body if isinstance(node, ast.ClassDef))
    lines = [line for line in text.splitlines()[first.lineno - 1 :] if line.strip()]
    assert len(lines) < 40


def test_its_routes_behind_roles(http: httpx.Client) -> None:
    assert http.get("/notes", headers=READER).json() == ["first"]
    refused = http.post("/notes", headers=READER, json={"text": "second"})
    assert (refused.status_code, refused.headers["content-type"]) == (403, "application/problem+json")
    assert "needs the role write" in refused.json()["detail"]
    assert http.post("/notes", headers=WRITER, json={"text": "second"}).json() == {"text": "second"}
    assert http.get("/notes/", headers=READER).json() == ["first", "second"]
    assert http.head("/notes", headers=READER).content == b""


@pytest.mark.parametrize("path", ["/notes", "/metrics", "/docs", "/openapi.json", "/nothing"])
def test_nobody_enters_without_credentials(http: httpx.Client, path: str) -> None:
    answer = http.get(path)
    assert answer.status_code == 401
    assert answer.json() == {
        "title": "Unauthorized",
        "status": 401,
        "detail": "no credentials, or wrong ones",
    }


def test_its_health_is_for_everybody(http: httpx.Client) -> None:
    assert http.get("/healthz").json() == {"status": "ok"}
    assert http.get("/readyz").json() == {"status": "ready"}


def test_it_counts_its_requests(http: httpx.Client) -> None:
    http.get("/notes", headers=READER)
    found = http.get("/metrics", headers=READER)
    assert found.headers["content-type"].startswith("text/plain")
    counted = [line for line in found.text.splitlines() if 'route="/notes"' in line]
    assert any('service="notes"' in line and 'method="GET"' in line for line in counted)


def test_its_limits(http: httpx.Client, url: str) -> None:
    answers = {
        413: http.post("/notes", headers=WRITER, json={"text": "x" * 200}),
        415: http.post("/notes", headers=WRITER, content=b"{}"),
        400: http.post("/notes", headers={**WRITER, "content-type": "application/json"}, content=b"{"),
        422: http.post("/notes", headers=WRITER, json={"text": 1}),
        406: http.get("/notes", headers={**READER, "accept": "image/png"}),
        405: http.delete("/notes", headers=WRITER),
        404: http.get("/nothing", headers=READER),
    }
    for status, answer in answers.items():
        assert answer.status_code == answer.json()["status"] == status
    assert answers[405].headers["allow"] == "GET, HEAD, POST"
    empty = http.post("/notes", headers=WRITER, json={"text": ""})
    assert (empty.status_code, empty.json()["detail"]) == (422, "a note needs a text; write one")
    with socket.create_connection((urlsplit(url).hostname, urlsplit(url).port), timeout=60) as raw:
        raw.sendall(b"GET /notes HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * 3_000)
        assert raw.recv(1_000).startswith(b"HTTP/1.1 431 ")


def test_its_page_tells_every_route_and_what_it_refuses(http: httpx.Client) -> None:
    page = http.get("/openapi.json", headers=READER).json()
    assert set(page["paths"]) == {"/notes", "/healthz", "/readyz", "/metrics"}
    responses = page["paths"]["/notes"]["post"]["responses"]
    assert set(responses) == {"200", "400", "401", "403", "406", "408", "413", "415", "422", "500"}
    assert set(responses["422"]["content"]) == {"application/problem+json"}
    assert "HTTPValidationError" not in page["components"]["schemas"]
    reported = http.get("/docs", headers=READER).text
    assert "<h3>POST /notes</h3><p>Add a note.</p>" in reported
    assert "<script" not in reported
