"""`qmtl doctor` finds what is wrong, and says how to mend it."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from qmtl.interfaces.cli.examination import clock

if TYPE_CHECKING:
    from conftest import CommandLine


def by_subject(checks: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {check["subject"]: check for check in checks}


def test_all_is_well(cli: CommandLine) -> None:
    checks = by_subject(cli.json("doctor"))
    for subject in ("python", "qmtl", "extra ccxt", "settings", "store", "state folder"):
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
    assert "store" in checks["settings"]["mend"]


def test_a_foreign_folder_is_a_failure(cli: CommandLine) -> None:
    cli.store.mkdir()
    (cli.store / "holiday.jpg").write_bytes(b"beach")
    checks = by_subject(cli.json("doctor", code=7))
    assert checks["store"]["outcome"] == "fail"
    assert checks["store"]["mend"]


def test_vendors_are_knocked_at(cli: CommandLine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as open_door:
        port = open_door.getsockname()[1]
        cli.config.write_text(
            "seamless:\n  vendors:\n"
            f"    - {{match: 'ohlcv:a:*', kind: ccxt, exchange: binance, urls: 'http://127.0.0.1:{port}'}}\n"
            "    - {match: 'ohlcv:c:*', kind: files, path: 'nowhere/{symbol}.csv'}\n"
        )
        checks = by_subject(cli.json("doctor", code=7))
        assert checks["vendor ohlcv:a:*"]["outcome"] == "ok"
        assert checks["vendor ohlcv:c:*"]["outcome"] == "fail"
        assert "nowhere" in checks["vendor ohlcv:c:*"]["mend"]
    closed = by_subject(cli.json("doctor", code=7))
    assert closed["vendor ohlcv:a:*"]["outcome"] == "fail"


def test_a_clock_that_was_never_set() -> None:
    assert clock(0).outcome == "fail"
    assert clock(1_800_000_000 * 10**9).outcome == "ok"
