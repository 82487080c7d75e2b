"""Whatever answers at the URL of a coordinator: an answer, a refusal, a fault to be shown, or nobody."""

from __future__ import annotations

import asyncio
import json
import pickle
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from qmtl import SeamlessDataProvider
from qmtl.foundation.errors import CoordinatorUnavailableError, InvalidRequestError, LeaseError
from qmtl.foundation.timeline import Span
from qmtl.runtime.coordination.answer_shapes import JOBS, SESSION
from qmtl.runtime.coordination.coordinator_answers import (
    Asked,
    BadAnswerError,
    LostError,
    Response,
    answer_of,
)
from qmtl.runtime.coordination.coordinator_client import CoordinatorClient
from qmtl.runtime.coordination.job_plans import WantedRange
from qmtl.runtime.testing.clock import FakeClock
from qmtl.runtime.testing.vendors import ScriptedVendor
from tests.qmtl.command_line import CommandLine, cli, vendor
from tests.qmtl.ports import free_port

__all__ = ["cli", "vendor"]

ASKED = Asked("http://c:1/team", "POST", "/v1/leases/renew")
ALIVE = {"session": "s", "expires_in_s": 3.0}
SERIES, OTHER = "ohlcv:test:BTC/USDT:1m", "ohlcv:test:ALT/USDT:1m"
PROBLEM = "application/problem+json"


def answer(status: int, body: Any, kind: str = "application/json", location: str | None = None) -> Any:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return answer_of(ASKED, Response(status, kind, data, location), SESSION)


def test_an_answer_with_its_shape_is_given_whole() -> None:
    assert answer(200, ALIVE | {"more": 1}, "application/json; charset=utf-8") == ALIVE | {"more": 1}


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, b"<html>", "text/html"),
        (404, b"<html>", "text/html"),
        (409, b"<html>", "text/html"),
        (422, b"{", PROBLEM),
        (403, {"message": "no"}, "application/json"),
        (404, {"detail": [1]}, "application/json"),
        (409, {"detail": "gone", "lost": [1]}, PROBLEM),
        (409, {"detail": "gone", "lost": 3}, PROBLEM),
        (200, b"<html>", "text/html"),
        (200, ALIVE, "text/html"),
        (200, ALIVE, ""),
        (200, b"", "application/json"),
        (200, b"null", "application/json"),
        (200, b"[" * 100_000, "application/json"),
        (200, b"\xff\xfe", "application/json"),
        (200, {}, "application/json"),
        (200, [], "application/json"),
        (304, b"", ""),
        (204, b"", ""),
    ],
)
def test_what_no_coordinator_answers_is_an_error_that_shows_it(status: int, body: Any, kind: str) -> None:
    with pytest.raises(BadAnswerError) as bad:
        answer(status, body, kind)
    text = str(bad.value)
    assert "http://c:1/team" in text
    assert f"POST /v1/leases/renew: HTTP {status}" in text
    assert "coordinator_url" in text
    assert "lease:" not in text


def test_the_first_words_are_shown_and_move_no_cursor() -> None:
    with pytest.raises(BadAnswerError) as bad:
        answer(403, b"<h1>Log\x1b[2J in</h1>\n" + b"x" * 10_000, "text/html")
    assert r"text/html: <h1>Log\x1b[2J in</h1> xxx" in str(bad.value)
    assert len(str(bad.value)) < 600


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("https://other/v1/leases/renew", "https://other"),
        ("/login", "http://c:1/login"),
        ("http://o/\x1b[2J", r"http://o/\x1b[2J"),
    ],
)
def test_a_redirect_says_where_it_points(location: str, target: str) -> None:
    with pytest.raises(BadAnswerError) as bad:
        answer(302, b"", "text/html", location)
    assert f"a redirect to {target}, which is not followed" in str(bad.value)
    assert f"to {target} if that is the coordinator" in str(bad.value.next_step)
    with pytest.raises(BadAnswerError, match="points nowhere"):
        answer(308, b"", "text/html")


@pytest.mark.parametrize("body", [b"<html>Bad Gateway", b"", json.dumps({"detail": "no leader"}).encode()])
@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_server_that_fails_does_not_answer(status: int, body: bytes) -> None:
    with pytest.raises(CoordinatorUnavailableError, match="does not answer at http://c:1/team") as away:
        answer(status, body, PROBLEM)
    assert away.value.why


def test_what_a_coordinator_refuses_is_in_its_own_words() -> None:
    with pytest.raises(LeaseError, match="HTTP 422") as refused:
        answer(422, {"detail": "body ranges: too long"}, PROBLEM)
    assert refused.value.why == "body ranges: too long"
    assert not isinstance(refused.value, BadAnswerError)
    with pytest.raises(LostError) as lost:
        answer(409, {"detail": "it is gone", "lost": ["a"]}, PROBLEM)
    assert (lost.value.why, lost.value.lost) == ("it is gone", frozenset({"a"}))


# -- over the wire --------------------------------------------------------------------------------------

Serve = Callable[..., str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """`serve(status, body, **headers)`: the URL of a server that answers so, whatever it is asked."""
    servers: list[ThreadingHTTPServer] = []

    def start(status: int, body: bytes, **headers: str) -> str:
        class Same(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                self.rfile.read(int(self.headers.get("content-length") or 0))
                self.send_response(status)
                for name, value in {"content_length": str(len(body)), **headers}.items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_DELETE = _answer

            def log_message(self, *_: object) -> None:
                pass

        servers.append(ThreadingHTTPServer(("127.0.0.1", free_port()), Same))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def opened(url: str, folder: Path) -> SeamlessDataProvider:
    return SeamlessDataProvider(
        folder / "bars",
        ScriptedVendor(),
        clock=FakeClock("2024-02-01T00:00:30Z"),
        metrics_registry=CollectorRegistry(),
        coordinator=url,
        progress=False,
    )


def fetched(url: str, folder: Path) -> Any:
    with opened(url, folder) as provider:
        return provider.fetch(SERIES, "2024-01-01", "2024-01-02")


@pytest.mark.parametrize("status", [200, 302, 401, 403, 404])
def test_a_fetch_does_not_go_on_alone_where_something_else_answers(
    serve: Serve, tmp_path: Path, status: int
) -> None:
    url = serve(status, b"<html>Log in", content_type="text/html", location="http://other/")
    with pytest.raises(LeaseError, match="not a coordinator") as bad:
        fetched(url, tmp_path)
    assert url in str(bad.value)


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_fetch_goes_on_alone_where_a_server_fails(serve: Serve, tmp_path: Path, status: int) -> None:
    found = fetched(serve(status, b"<html>Bad Gateway", content_type="text/html"), tmp_path)
    assert "does not answer" in found.receipt.uncoordinated


def test_a_backfill_says_that_it_was_uncoordinated(serve: Serve, tmp_path: Path) -> None:
    url = serve(503, b"", content_type="text/html")
    with opened(url, tmp_path) as provider:
        states = provider.backfill(SERIES, "2024-01-01", "2024-01-02")
        assert "does not answer" in str(states.uncoordinated)
        assert "; uncoordinated: the coordinator does not answer" in str(states)
        both = provider.backfill([SERIES, OTHER], "2024-01-02", "2024-01-03")
        assert str(both).count("; uncoordinated: the coordinator does not answer") == 2
        report = provider.backfill_many([SERIES, OTHER], "2024-01-03", "2024-01-04")
        assert report.uncoordinated == [OTHER, SERIES]
        assert report.outcome == "passes, 2 series uncoordinated"
        assert str(report).count("uncoordinated: the coordinator does not answer") == 2
        assert report.to_json()["uncoordinated"] == 2
        assert "does not answer" in report[SERIES].to_json()["uncoordinated"][0]
        again = provider.backfill(SERIES, "2024-01-01", "2024-01-02")
        assert again.uncoordinated is None, "nobody was asked"
        assert pickle.loads(pickle.dumps(states)).uncoordinated == states.uncoordinated
        assert states.clip(states.span).uncoordinated == states.uncoordinated


def test_the_command_says_that_it_was_uncoordinated(
    serve: Serve, cli: CommandLine, vendor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor()
    monkeypatch.setenv("QMTL_SEAMLESS_COORDINATOR_URL", serve(503, b"", content_type="text/html"))
    told = cli.run("backfill", SERIES, "2024-01-01", "2024-01-02")
    assert told.exit_code == 0, told.output
    assert f"note: {SERIES} uncoordinated" in told.stderr
    assert "does not answer" in told.stderr
    (found,) = cli.json("backfill", SERIES, "2024-01-02", "2024-01-03")["series"]
    assert "does not answer" in found["uncoordinated"]


@pytest.mark.parametrize("body", [b"{}", b"[]", b'{"jobs": [{}]}', b'{"leases": []}'])
def test_answers_without_their_fields_are_no_defect_of_ours(serve: Serve, body: bytes) -> None:
    url = serve(200, body, content_type="application/json")

    async def story() -> None:
        client = CoordinatorClient(url, None)
        asks = (
            client.jobs,
            client.leases,
            lambda: client.history(0),
            lambda: client.job("j"),
            lambda: client.cancel("j"),
            lambda: client.live("w"),
            lambda: client.queue("j", store_id="s", by="b", ranges=()),
            lambda: client.take("w", "t", turn=0, store_id="s", venues="*", ttl_s=5),
        )
        try:
            for ask in asks:
                with pytest.raises(BadAnswerError, match="is not a coordinator of this version"):
                    await ask()
        finally:
            await client.close()

    asyncio.run(story())


def test_what_speaks_no_http_is_shown() -> None:
    async def story() -> None:
        async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"SSH-2.0-OpenSSH_9\r\n\r\n")
            await writer.drain()
            writer.close()

        port = free_port()
        async with await asyncio.start_server(greet, "127.0.0.1", port):
            client = CoordinatorClient(f"http://127.0.0.1:{port}", None)
            try:
                with pytest.raises(BadAnswerError, match="no answer in HTTP"):
                    await client.jobs()
            finally:
                await client.close()

    asyncio.run(story())


def test_jobs_of_a_coordinator_have_their_shape() -> None:
    assert answer_of(ASKED, Response(200, "application/json", b'{"jobs": []}'), JOBS) == {"jobs": []}


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("jobs", "--cancel", "nosuch"), "there is no job 'nosuch'"),
        (("jobs", "--cancel", ""), "there is no job ''"),
        (("jobs", "--cancel", "../leases"), "there is no job '../leases'"),
        (("worker", "--venues", ""), "--venues '' matches no venue"),
        (("worker", "--venues", "["), "--venues '[' matches no venue"),
        (("worker", "--venues", "a\x1b"), "matches no venue"),
        (("worker", "--venues", "binance,kraken"), "for several venues start several workers"),
        (("worker", "--venues", "ohlcv:binance:*"), "names of venues hold letters"),
        (("worker", "--venues", "[!]"), "matches no venue"),
        (("backfill", "ohlcv:my:*:1m", "2024-01-01", "2024-01-02", "--detach"), "is a pattern"),
    ],
)
def test_a_command_refuses_what_no_coordinator_could_do(
    serve: Serve, cli: CommandLine, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], why: str
) -> None:
    url = serve(404, json.dumps({"detail": "there is no job nosuch"}).encode(), content_type=PROBLEM)
    monkeypatch.setenv("QMTL_SEAMLESS_COORDINATOR_URL", url)
    refused = cli.run(*words)
    assert refused.exit_code == 2, refused.output
    assert why in refused.stderr
    assert "lease:" not in refused.stderr


def test_a_job_of_too_many_ranges_is_refused_before_it_is_sent() -> None:
    async def story() -> None:
        client = CoordinatorClient(f"http://127.0.0.1:{free_port()}", None)
        one = WantedRange(SERIES, Span(0, 1))
        with pytest.raises(
            InvalidRequestError, match="at most 10,000 ranges, and this one would have 10,001"
        ):
            await client.queue("j", store_id="s", by="b", ranges=[one] * 10_001)
        await client.close()

    asyncio.run(story())
