"""`qmtl doctor` finds what is wrong, and says how to fix it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from qmtl.interfaces.cli import connectivity, vendor_checks
from qmtl.interfaces.cli.connectivity import Answer, probe, probe_all
from qmtl.interfaces.cli.examination import clock
from tests.qmtl.ports import free_port

if TYPE_CHECKING:
    from tests.qmtl.command_line import CommandLine


def by_subject(checks: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {check["subject"]: check for check in checks}


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing beyond this machine is reached, whatever network it has."""
    connect = socket.create_connection

    def within(address: tuple[str, int], *args: Any, **options: Any) -> socket.socket:
        if address[0] not in ("127.0.0.1", "localhost"):
            raise socket.gaierror(-2, "Name or service not known")
        return connect(address, *args, **options)

    monkeypatch.setattr(socket, "create_connection", within)


class Door(BaseHTTPRequestHandler):
    """Answers with the status that its path names."""

    def do_GET(self) -> None:
        name = self.path.strip("/")
        self.send_response(int(name) if name.isdecimal() else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Door) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_all_is_well(cli: CommandLine) -> None:
    checks = by_subject(cli.json("doctor"))
    for subject in (
        "python",
        "qmtl",
        "extra ccxt",
        "settings",
        "store",
        "state folder",
        "cache folder",
        "certificates",
    ):
        assert checks[subject]["outcome"] == "ok", checks[subject]
    assert str(cli.config) in checks["settings"]["detail"]
    assert not cli.store.exists()
    result = cli.run("doctor")
    assert result.exit_code == 0
    assert "extra ccxt" in result.stdout


def test_a_broken_setting_is_a_failure_with_its_cure(cli: CommandLine) -> None:
    cli.config.write_text("seamless: {stroe: x}\n")
    checks = by_subject(cli.json("doctor", code=7))
    assert checks["settings"]["outcome"] == "fail"
    assert "store" in checks["settings"]["fix"]


def test_a_foreign_folder_is_a_failure(cli: CommandLine) -> None:
    cli.store.mkdir()
    (cli.store / "holiday.jpg").write_bytes(b"beach")
    checks = by_subject(cli.json("doctor", code=7))
    assert checks["store"]["outcome"] == "fail"
    assert checks["store"]["fix"]


def test_vendors_are_probed(cli: CommandLine, address: str) -> None:
    nobody = free_port()
    cli.config.write_text(
        "seamless:\n  vendors:\n"
        f"    - {{match: 'ohlcv:a:*', kind: ccxt, exchange: binance, urls: '{address}'}}\n"
        f"    - {{match: 'ohlcv:b:*', kind: ccxt, exchange: binance, urls: 'http://127.0.0.1:{nobody}'}}\n"
        "    - {match: 'ohlcv:c:*', kind: files, path: 'nowhere/{symbol}.csv'}\n"
        f"    - {{match: 'ohlcv:d:*', kind: ccxt, exchange: binance, urls: {{publik: '{address}'}}}}\n"
        f"    - {{match: 'ohlcv:e:*', kind: ccxt, exchange: binance, urls: {{public: '{address}/451'}}}}\n"
        "    - {match: 'ohlcv:f:*', kind: ccxt, exchange: binance, urls: 'localhost:8080'}\n"
    )
    checks = by_subject(cli.json("doctor", code=7))
    outcomes = {name: checks[f"vendor ohlcv:{name}:*"]["outcome"] for name in "abcdef"}
    assert outcomes == {"a": "ok", "b": "fail", "c": "fail", "d": "fail", "e": "warn", "f": "fail"}
    assert "nowhere" in checks["vendor ohlcv:c:*"]["fix"]
    assert "qmtl.yml:6" in checks["vendor ohlcv:d:*"]["detail"]
    assert "'seamless.vendors[3].urls'" in checks["vendor ohlcv:d:*"]["detail"]
    assert "qmtl.yml:8" in checks["vendor ohlcv:f:*"]["detail"]
    assert "http://" in checks["vendor ohlcv:f:*"]["fix"]
    assert "451" in checks["vendor ohlcv:e:*"]["detail"]
    assert all(check["fix"] for check in checks.values() if check["outcome"] != "ok")


def test_without_settings_a_newcomer_hears_what_a_fetch_would_ask(cli: CommandLine) -> None:
    """Offline is no failure: nothing that was asked for is missing."""
    checks = by_subject(cli.json("doctor"))
    assert "ohlcv:binance:BTC/USDT:1h" in checks["vendors"]["detail"]
    assert checks["exchanges"]["outcome"] == "warn"
    for venue in vendor_checks.FIRST:
        assert venue in checks["exchanges"]["detail"]
    assert "qmtl doctor VENUE" in checks["exchanges"]["fix"]


def test_without_settings_and_with_a_network(
    cli: CommandLine, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([Answer("a", 200), Answer("b", 451), Answer("c", None, "it is away")])
    monkeypatch.setattr(vendor_checks, "probe_all", lambda urls: dict(zip(urls, answers, strict=True)))
    checks = by_subject(cli.json("doctor"))
    assert [checks[f"venue {venue}"]["outcome"] for venue in vendor_checks.FIRST] == ["ok", "warn", "warn"]


def test_venues_may_be_named(cli: CommandLine) -> None:
    checks = by_subject(cli.json("doctor", "binance", "krakken", code=7))
    assert "api.binance.com cannot be reached" in checks["venue binance"]["detail"]
    assert "kraken" in checks["venue krakken"]["fix"]
    assert "exchanges" not in checks


@pytest.mark.parametrize("path", ["200", "404", "418", "500", "451", "403"])
def test_an_answer_is_welcome_unless_it_refuses_or_fails(address: str, path: str) -> None:
    answer = probe(f"{address}/{path}")
    assert answer.status == int(path)
    assert answer.is_welcome is (path in ("200", "404", "418"))


@pytest.mark.parametrize(
    "url",
    ["", "nonsense", "http://127.0.0.1:99999", "http://127.0.0.1:1", "http://[::1", "https://x.invalid"],
)
def test_an_address_where_nobody_is_raises_nothing(url: str) -> None:
    assert probe(url).status is None
    assert str(probe(url))


def test_nobody_is_waited_for_beyond_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    never = threading.Event()
    monkeypatch.setattr(connectivity, "TIMEOUT_S", 0.05)
    monkeypatch.setattr(connectivity, "probe", lambda url: never.wait(60))
    began = time.monotonic()
    answers = probe_all(["http://a", "http://b"])
    assert time.monotonic() - began < 30
    never.set()
    assert [answer.status for answer in answers.values()] == [None, None]
    assert "within 0.05 s" in str(answers["http://a"])


def test_a_clock_that_was_never_set() -> None:
    assert clock(0).outcome == "fail"
    assert clock(1_800_000_000 * 10**9).outcome == "ok"


def test_polygon_without_its_key_fails_with_the_name_of_the_variable(
    cli: CommandLine, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli.config.write_text(
        f"seamless:\n  vendors:\n    - {{match: 'ohlcv:polygon:*', kind: polygon, url: '{address}'}}\n"
    )
    monkeypatch.delenv("POLYGON_API_KEY", raising=False)
    found = by_subject(cli.json("doctor", code=7))["vendor ohlcv:polygon:*"]
    assert (found["outcome"], found["detail"]) == ("fail", "the variable POLYGON_API_KEY is not set")
    monkeypatch.setenv("POLYGON_API_KEY", "a-key")
    found = by_subject(cli.json("doctor"))["vendor ohlcv:polygon:*"]
    assert (found["outcome"], "a-key" in str(found)) == ("ok", False)
