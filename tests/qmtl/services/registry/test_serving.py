"""The command itself: when it is ready, how it ends, what it refuses to begin."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

Process = Any  # a RegistryProcess of conftest.py
QMTL = Path(sys.executable).with_name("qmtl")


def run(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([QMTL, *map(str, words)], capture_output=True, text=True, timeout=240, check=False)


def refused(folder: Path, *options: object) -> str:
    """What it says where it does not begin."""
    done = run("serve", "registry", "--store", folder / "registry", *options)
    assert done.returncode in (2, 7), done
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    return done.stderr


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_it_answers_once_it_says_so_and_ends_cleanly(
    serve: Callable[..., Process], how: signal.Signals
) -> None:
    server = serve()
    with httpx.Client(base_url=server.url, timeout=60) as http:
        assert http.get("/healthz").json() == {"status": "ok"}
        assert http.get("/readyz").json() == {"status": "ready"}
        http.post("/subjects/s/versions", json={"schema": '"string"'}).raise_for_status()
        # The connection is still open.
        reported = server.reported()
        assert server.end(how) == 0
    assert reported == ""
    left = {file.name for file in server.folder.iterdir()}
    assert left == {"registry.sqlite", "registry.lock"}, "the log was moved into the file"


def test_its_address_as_json(tmp_path: Path) -> None:
    command = [QMTL, "--json", "serve", "registry", "--port", "0", "--store", tmp_path / "registry"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        text = "".join(process.stdout.readline() for _ in range(3))
        address = json.loads(text)["address"]
        assert httpx.get(f"{address}/subjects", timeout=60).json() == []
        process.terminate()
        assert process.wait(60) == 0


def test_it_is_ready_only_with_its_storage(serve: Callable[..., Process]) -> None:
    server = serve()
    with httpx.Client(base_url=server.url, timeout=60) as http:
        assert http.get("/readyz").status_code == 200
        for file in server.folder.iterdir():
            file.write_bytes(b"damaged" * 4096)
        answer = http.get("/readyz")
        assert (answer.status_code, answer.json()["error_code"]) == (500, 50001)
        assert "backup" in answer.json()["message"]
        assert http.get("/healthz").status_code == 200, "it lives all the same"


def test_other_machines_need_credentials_and_tls(tmp_path: Path) -> None:
    reported = refused(tmp_path, "--host", "0.0.0.0", "--port", "0")
    assert "no credentials (--auth FILE) and no TLS" in reported
    assert "--unprotected" in reported


def test_unprotected_must_be_stated(serve: Callable[..., Process]) -> None:
    server = serve("--host", "0.0.0.0", "--unprotected")
    port = httpx.URL(server.url).port
    assert httpx.get(f"http://127.0.0.1:{port}/subjects", timeout=60).json() == []


@pytest.mark.parametrize("host", ["::1", "localhost", "127.0.0.2"])
def test_every_address_of_this_machine_alone_is_fine(serve: Callable[..., Process], host: str) -> None:
    assert httpx.get(f"{serve('--host', host).url}/subjects", timeout=60).json() == []


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        reported = refused(tmp_path, "--port", other.getsockname()[1])
    assert "choose another port" in reported


def test_a_host_that_is_none(tmp_path: Path) -> None:
    assert "cannot serve on no.such.host.invalid" in refused(
        tmp_path, "--unprotected", "--host", "no.such.host.invalid"
    )


def test_a_folder_that_is_another_s(tmp_path: Path) -> None:
    (tmp_path / "registry").mkdir()
    (tmp_path / "registry" / "registry.sqlite").write_bytes(b"SQLite format 3\x00" + b"\x01" * 5000)
    assert "damaged, or no registry" in refused(tmp_path, "--port", "0")


def test_metrics_tell_routes_and_never_paths(serve: Callable[..., Process]) -> None:
    server = serve()
    with httpx.Client(base_url=server.url, timeout=60) as http:
        for path in ("/subjects/a-b-c/versions", "/subjects/d/versions", "/made-up", "/schemas/types"):
            http.get(path)
        http.request("SPAM", "/schemas/types")
        http.post("/subjects/s/versions", content=b"x", headers={"content-type": "text/plain"})
        text = http.get("/metrics").text
    counted = [line for line in text.splitlines() if line.startswith("service_requests_total{")]
    expected = {
        ("GET", "/subjects/{subject}/versions", 404): 2,
        ("GET", "", 404): 1,
        ("GET", "/schemas/types", 200): 1,
        ("POST", "", 415): 1,
    }
    for (method, route, status), count in expected.items():
        labels = f'method="{method}",route="{route}",service="registry",status="{status}"'
        assert f"service_requests_total{{{labels}}} {count}.0" in counted
    assert "a-b-c" not in text
    assert "made-up" not in text
    assert "SPAM" not in text
    assert (
        'service_request_seconds_count{route="/subjects/{subject}/versions",service="registry"} 2.0' in text
    )
