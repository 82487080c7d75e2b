"""The OpenAPI page describes exactly what the running server does: schemathesis finds nothing."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

import httpx
import pytest

from qmtl.services.http.access import token_hash

Process = Any  # a RegistryProcess of conftest.py
SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")

# Not every text is a schema, and in mode READONLY nothing can be changed, which the page cannot say. All
# other input that fits it must be taken.
CONFIG = """
[[operations]]
exclude-method = "GET"
checks.positive_data_acceptance.expected-statuses = ["2xx", 401, 403, 404, 409, 422]
"""


def fuzz(url: str, folder: Path, *options: str) -> str:
    """What schemathesis says after it has tried everything that it can think of."""
    config = folder / "schemathesis.toml"
    config.write_text(CONFIG)
    command = [SCHEMATHESIS, "--config-file", config, "run", f"{url}/openapi.json", "--checks", "all"]
    limits = ["--generation-deterministic", "--max-examples", "8", "--warnings", "off", "--no-color"]
    done = subprocess.run(
        [*command, *limits, *options], cwd=folder, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout[-10_000:] + done.stderr
    return done.stdout


def test_schemathesis_finds_nothing(server: Process, tmp_path: Path) -> None:
    reported = fuzz(server.url, tmp_path)
    assert "No issues found" in reported
    operations = sum(map(len, httpx.get(f"{server.url}/openapi.json", timeout=60).json()["paths"].values()))
    assert f"Tested: {operations}" in reported
    with httpx.Client(base_url=server.url, timeout=60) as http:
        assert http.get("/readyz").status_code == 200
    assert "Traceback" not in server.reported()


def test_schemathesis_finds_nothing_behind_credentials(serve: Callable[..., Process], tmp_path: Path) -> None:
    auth = tmp_path / "auth.yml"
    auth.write_text(f"tokens:\n  a: {{role: read, sha256: '{token_hash('t')}'}}\n")
    server = serve("--auth", auth)
    with httpx.Client(base_url=server.url, headers={"authorization": "Bearer t"}, timeout=60) as http:
        page = http.get("/openapi.json").json()
    assert page["components"]["securitySchemes"] == {
        "basic": {"type": "http", "scheme": "basic"},
        "bearer": {"type": "http", "scheme": "bearer"},
    }
    reported = fuzz(server.url, tmp_path, "-H", "Authorization: Bearer t", "--phases", "coverage")
    assert "No issues found" in reported


@pytest.fixture(scope="module")
def page(server: Process) -> dict[str, Any]:
    reported: dict[str, Any] = httpx.get(f"{server.url}/openapi.json", timeout=60).json()
    return reported


def test_the_routes_of_confluent_s_api(page: dict[str, Any]) -> None:
    version = "/subjects/{subject}/versions/{version}"
    checked = "/compatibility/subjects/{subject}/versions"
    expected = {
        "/": {"get", "post"},
        "/subjects": {"get"},
        "/subjects/{subject}": {"post", "delete"},
        "/subjects/{subject}/versions": {"get", "post"},
        version: {"get", "delete"},
        f"{version}/schema": {"get"},
        f"{version}/referencedby": {"get"},
        "/schemas": {"get"},
        "/schemas/types": {"get"},
        "/schemas/ids/{id}": {"get"},
        "/schemas/ids/{id}/schema": {"get"},
        "/schemas/ids/{id}/subjects": {"get"},
        "/schemas/ids/{id}/versions": {"get"},
        checked: {"post"},
        f"{checked}/{{version}}": {"post"},
        "/config": {"get", "put", "delete"},
        "/config/{subject}": {"get", "put", "delete"},
        "/mode": {"get", "put", "delete"},
        "/mode/{subject}": {"get", "put", "delete"},
        "/contexts": {"get"},
        "/v1/metadata/id": {"get"},
        "/v1/metadata/version": {"get"},
        "/healthz": {"get"},
        "/readyz": {"get"},
        "/metrics": {"get"},
    }
    found = {path: set(methods) for path, methods in page["paths"].items()}
    assert {path: found.get(path) for path in expected} == expected


def test_every_operation_tells_its_types_and_what_it_refuses(page: dict[str, Any]) -> None:
    vendor = "application/vnd.schemaregistry.v1+json"
    for path, methods in page["paths"].items():
        for method, operation in methods.items():
            place = f"{method} {path}"
            assert operation["summary"], place
            assert operation["description"], place
            for status, answer in operation["responses"].items():
                types = set(answer["content"])
                prometheus = (path, status) == ("/metrics", "200")
                assert types == {"text/plain" if prometheus else vendor}, f"{place} {status}"
            takes = (
                "parameters" in operation or "requestBody" in operation or (method != "get" and path != "/")
            )
            assert ("422" in operation["responses"]) == takes, place
            if "requestBody" in operation:
                assert set(operation["requestBody"]["content"]) == {
                    vendor,
                    "application/vnd.schemaregistry+json",
                    "application/json",
                    "application/octet-stream",
                }
                assert {"400", "413", "415"} <= set(operation["responses"]), place
    assert "HTTPValidationError" not in page["components"]["schemas"]


def test_the_page_for_people_tells_every_operation_and_names_no_other_host(
    server: Process, page: dict[str, Any]
) -> None:
    answer = httpx.get(f"{server.url}/docs", timeout=60)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    reported = answer.text
    assert "//" not in reported
    assert "<script" not in reported
    assert "`" not in reported
    assert "Successful Response" not in reported, "a filler of FastAPI"
    plain = re.sub("</?code>", "`", reported)
    for path, methods in page["paths"].items():
        for method, operation in methods.items():
            assert f"<h3>{method.upper()} {path}</h3>" in reported
            assert escape(operation["description"]) in plain
            assert f'<a href="#{method}{path}">' in reported
            for one in operation.get("parameters", ()):
                assert f"<th>{one['name']} ({one['in']})</th>" in reported
    targets = set(re.findall(r'href="([^"]+)"', reported))
    anchors = {f"#{name}" for name in re.findall(r'id="([^"]+)"', reported)}
    assert targets - anchors == {"openapi.json"}
    operations = {f"{method}{path}" for path, methods in page["paths"].items() for method in methods}
    assert anchors == {f"#{name}" for name in {*page["components"]["schemas"], *operations}}


def test_no_page_is_loaded_from_elsewhere(server: Process) -> None:
    for path in ("/redoc", "/docs/oauth2-redirect"):
        assert httpx.get(f"{server.url}{path}", timeout=60).status_code == 404
