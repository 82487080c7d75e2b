"""A certificate that is not trusted is named as such, and what is trusted can be set in one place."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from qmtl.foundation.certificates import VARIABLES, tls_problem, trusted, trusted_context
from qmtl.foundation.errors import InvalidRequestError, RegistryUnavailableError, SourceUnavailableError
from qmtl.foundation.schema.registry.remote import RemoteSchemaRegistryClient
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import HOUR, to_ns
from qmtl.interfaces.cli.connectivity import probe
from qmtl.runtime.io.vendors.ccxt import CcxtVendor
from tests.qmtl.certificates import self_signed

if TYPE_CHECKING:
    from tests.qmtl.command_line import CommandLine

SERIES = SeriesId.parse("ohlcv:binance:BTC/USDT:1h")


class Door(NamedTuple):
    """A server of HTTPS whose certificate nobody vouches for but itself."""

    url: str
    certificate: Path
    asked: list[str]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate and its key, in one file."""
    folder = tmp_path_factory.mktemp("tls")
    path = folder / "server.pem"
    path.write_bytes(b"".join(part.read_bytes() for part in self_signed(folder)))
    return path


@pytest.fixture
def door(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    class Server(HTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            pass  # clients that do not trust it hang up

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with Server(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Door(f"https://127.0.0.1:{server.server_port}", certificate, asked)
        server.shutdown()


def ask(vendor: CcxtVendor) -> None:
    async def scene() -> None:
        try:
            async for _ in vendor.pages(SERIES, Span(to_ns("2024-01-01"), to_ns("2024-01-01") + HOUR)):
                pass
        finally:
            await vendor.aclose()

    asyncio.run(scene())


def test_the_doctor_names_the_certificate_and_its_cure(cli: CommandLine, door: Door) -> None:
    cli.config.write_text(
        f"seamless: {{vendors: [{{match: '*', kind: ccxt, exchange: binance, urls: '{door.url}'}}]}}\n"
    )
    check = {check["subject"]: check for check in cli.json("doctor", code=7)}["vendor *"]
    assert "its certificate is not trusted: self-signed certificate" in check["detail"]
    assert "SSL_CERT_FILE" in check["fix"]
    assert door.asked == []


def test_one_variable_is_enough_for_everybody(
    cli: CommandLine, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(door.certificate))
    assert probe(door.url).status == 404
    with pytest.raises(SourceUnavailableError) as answered:
        ask(CcxtVendor("binance", urls=door.url))
    assert "certificate" not in str(answered.value)
    assert len(door.asked) >= 2, "both came through"
    checks = {check["subject"]: check for check in cli.json("doctor", "atlantis", code=7)}
    assert checks["certificates"] == {
        "subject": "certificates",
        "outcome": "ok",
        "detail": f"SSL_CERT_FILE: {door.certificate}, 1 of them",
        "fix": "",
    }


def test_a_fetch_names_the_certificate_and_does_not_ask_again(door: Door) -> None:
    with pytest.raises(SourceUnavailableError) as refused:
        ask(CcxtVendor("binance", urls=door.url))
    assert "its certificate is not trusted: self-signed certificate" in str(refused.value.why)
    assert "asked" not in str(refused.value.why).partition("(")[0]
    assert "SSL_CERT_FILE" in str(refused.value.next_step)
    assert tls_problem(refused.value) is not None


def test_a_registry_names_the_certificate(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        closing(RemoteSchemaRegistryClient(door.url)) as client,
        pytest.raises(RegistryUnavailableError) as refused,
    ):
        client.subjects()
    assert "its certificate is not trusted" in str(refused.value.why)
    assert "SSL_CERT_FILE" in str(refused.value.next_step)
    monkeypatch.setenv("SSL_CERT_FILE", str(door.certificate))
    with (
        closing(RemoteSchemaRegistryClient(door.url)) as client,
        pytest.raises(RegistryUnavailableError, match="is no schema registry"),
    ):
        client.subjects()


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_authorities_that_cannot_be_read_are_reported_by_name(
    cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    path = tmp_path / "authorities.pem"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    with pytest.raises(InvalidRequestError, match=r"SSL_CERT_FILE: .*authorities\.pem cannot be read"):
        trusted_context()
    checks = {check["subject"]: check for check in cli.json("doctor", "binance", code=7)}
    assert checks["certificates"]["outcome"] == "fail"
    assert str(path) in checks["certificates"]["detail"]
    assert "correct SSL_CERT_FILE" in checks["certificates"]["fix"]
    assert "correct SSL_CERT_FILE" in checks["venue binance"]["fix"]


def test_plain_http_where_tls_was_expected(door: Door) -> None:
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as plain:
        threading.Thread(target=plain.handle_request, daemon=True).start()
        answer = probe(f"https://127.0.0.1:{plain.server_port}")
    assert answer.status is None
    assert "does not speak TLS" in answer.why
    assert answer.cure


def test_where_certificates_come_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert trusted().source == "the package certifi"
    assert trusted_context().get_ca_certs()
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    assert trusted() == ("SSL_CERT_DIR", str(tmp_path))
    assert not trusted_context().get_ca_certs()
    monkeypatch.setenv("SSL_CERT_FILE", "/x.pem")
    assert trusted() == ("SSL_CERT_FILE", "/x.pem")


def test_causes_that_go_in_circles_end() -> None:
    first, second = ValueError(), ValueError()
    first.__cause__, second.__cause__ = second, first
    assert tls_problem(first) is None
    assert tls_problem(None) is None
