"""Log events reach the handlers of users, with fields, and nothing is printed unasked."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qmtl.foundation.observability.log import JsonLines, backfill_log, sla_log, written_to


def test_an_event_is_one_record_with_fields(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    backfill_log.info("backfill.started", node_id="ohlcv:a:B/C:1m", bars=3, why="two words", rate="100%s")
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("seamless.backfill", "INFO")
    assert record.getMessage() == (
        "backfill.started node_id=ohlcv:a:B/C:1m bars=3 why='two words' rate=100%s"
    )
    assert (record.event, record.node_id, record.bars) == ("backfill.started", "ohlcv:a:B/C:1m", 3)
    assert record.filename == "test_log.py", "the caller, not the library in between"


def test_levels_are_those_of_logging(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("WARNING", logger="seamless.sla")
    sla_log.info("sla.kept")
    sla_log.warning("sla.breached", phase="total")
    assert [r.getMessage() for r in caplog.records] == ["sla.breached phase=total"]
    assert caplog.records[0].name == "seamless.sla"


def test_fields_that_logging_keeps_for_itself_are_renamed(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    backfill_log.info("x", name="a", message="b", args=(1,))
    (record,) = caplog.records
    assert (record.name_, record.message_, record.args_) == ("a", "b", (1,))
    assert record.name == "seamless.backfill"


def test_values_that_would_break_the_line_are_quoted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    backfill_log.info("x", a="", b="1\n2", c="k=v", d=None)
    assert caplog.records[0].getMessage() == r"x a='' b='1\n2' c='k=v' d=None"


def test_an_exception_is_reported_whole(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    cause = ValueError("broken page")
    backfill_log.error("backfill.failed", exc_info=cause)
    assert caplog.records[0].exc_info == (ValueError, cause, None)


def test_nothing_is_printed_and_nothing_configured_unasked() -> None:
    program = (
        "import logging; from qmtl.foundation.observability.log import backfill_log as log; "
        "log.error('loud', a=1); log.critical('louder'); "
        "import structlog; print(logging.getLogger().handlers, structlog.is_configured())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("[] False\n", "")


def test_a_plain_configuration_shows_events() -> None:
    program = (
        "import logging; logging.basicConfig(level='INFO', format='%(levelname)s %(name)s %(message)s'); "
        "from qmtl.foundation.observability.log import sla_log as log; log.bind(node_id='n').info('e', a=1)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == "INFO seamless.sla e node_id=n a=1\n"
    assert logging.getLogger("seamless").handlers, "a null handler keeps Python's last resort quiet"


class TestJsonLines:
    @pytest.fixture
    def lines(self) -> Iterator[Callable[[], list[dict[str, Any]]]]:
        stream = io.StringIO()
        with written_to(stream, JsonLines(), logging.INFO):
            yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]

    def test_an_event_is_one_object_with_its_fields(self, lines: Callable[[], list[dict[str, Any]]]) -> None:
        backfill_log.info("backfill.started", node_id="ohlcv:a:B/C:1m", bars=3, why="two\nlines")
        backfill_log.debug("backfill.page")
        (line,) = lines()
        assert line.pop("time").endswith("Z")
        assert line == {
            "level": "info",
            "logger": "seamless.backfill",
            "event": "backfill.started",
            "node_id": "ohlcv:a:B/C:1m",
            "bars": 3,
            "why": "two\nlines",
        }

    def test_what_json_has_no_word_for_is_text(self, lines: Callable[[], list[dict[str, Any]]]) -> None:
        values = [float("nan"), float("inf"), 1.5, None, True, Path("x"), (1, {2: b"3"})]
        sla_log.warning("sla.odd", values=values)
        (line,) = lines()
        assert line["values"] == ["nan", "inf", 1.5, None, True, "x", [1, {"2": "b'3'"}]]

    def test_records_of_libraries_and_exceptions(self, lines: Callable[[], list[dict[str, Any]]]) -> None:
        logging.getLogger("some.library").info("chatter")
        try:
            _ = 1 / 0
        except ZeroDivisionError:
            logging.getLogger("some.library").exception("it %s", "broke")
        (line,) = lines()
        assert (line["level"], line["message"]) == ("error", "it broke")
        assert "ZeroDivisionError" in line["exception"]

    def test_nothing_is_left_behind(self) -> None:
        before = (list(logging.getLogger().handlers), logging.getLogger("seamless").level)
        with written_to(io.StringIO(), JsonLines(), logging.DEBUG):
            assert logging.getLogger("seamless").level == logging.DEBUG
        assert (logging.getLogger().handlers, logging.getLogger("seamless").level) == before
