"""What the report on many series shows, and the exit code that it ends with."""

from __future__ import annotations

import pytest

from qmtl.foundation.timeline import Span
from qmtl.foundation.times import to_ns
from qmtl.interfaces.cli.session import Session
from qmtl.interfaces.cli.universe_output import exit_code_of, show
from qmtl.runtime.conformance.universe import Failure, Found, SeriesRollup, UniverseReport

SPAN = Span(to_ns("2024-01-01"), to_ns("2024-02-01"))
FINE = SeriesRollup({"present": 10})
HOLES = SeriesRollup({"present": 9, "unknown": 1})
WARNED = SeriesRollup({"present": 10}, found={"quality.price_spike": Found(1, 1)})
ACCEPTED = SeriesRollup({"present": 10}, found={"quality.price_spike": Found(1, 0)})


def failed(kind: str) -> SeriesRollup:
    return SeriesRollup(failures=frozenset({Failure(kind, "it failed", "of this", "do that")}))


def report_of(*series: SeriesRollup) -> UniverseReport:
    return UniverseReport("revalidate", SPAN, {f"ohlcv:v:S{n}:1m": one for n, one in enumerate(series)})


@pytest.mark.parametrize(
    ("series", "code", "code_if_partial"),
    [
        ([FINE, ACCEPTED], 0, 0),
        ([], 0, 0),
        ([WARNED], 4, 0),
        ([HOLES, WARNED], 3, 0),
        ([HOLES, failed("InvalidRequestError")], 3, 2),
        ([WARNED, failed("InvalidRequestError")], 4, 2),
        ([HOLES, failed("SourceUnavailableError")], 7, 7),
        ([failed("StoreCorruptError")], 7, 7),
        ([failed("WorkerLost")], 7, 7),
        ([failed("SchemaValidationError"), failed("InvalidRequestError")], 6, 6),
        ([failed("SeamlessSLAExceeded"), failed("StoreError")], 5, 5),
        ([failed("ZeroDivisionError"), failed("StoreError")], 1, 1),
    ],
)
def test_the_exit_code_is_that_of_the_first_that_applies(
    series: list[SeriesRollup], code: int, code_if_partial: int
) -> None:
    report = report_of(*series)
    assert exit_code_of(report, partial_ok=False) == code
    assert exit_code_of(report, partial_ok=True) == code_if_partial


def test_what_is_shown_has_reasons_and_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    session = Session(config=None, store=None, json=False, verbose=False)
    show(session, report_of(FINE, HOLES, WARNED, failed("StoreError")))
    text = capsys.readouterr().out
    for words in (
        "4",
        "1 series failed, 1 warning, 1 bar missing",
        "present 29, unknown 1",
        "quality.price_spike",
        "StoreError: it failed (of this)",
        "do that",
        "qmtl backfill ohlcv:v:S1:1m 2024-01-01 2024-02-01",
        "qmtl reports show ohlcv:v:S2:1m",
    ):
        assert words in text
    assert "ohlcv:v:S0:1m" not in text, "of a series that is well there is nothing to say"
    assert text.index("ohlcv:v:S3:1m") < text.index("ohlcv:v:S2:1m") < text.index("ohlcv:v:S1:1m")


def test_of_thousands_that_are_not_well_some_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    session = Session(config=None, store=None, json=False, verbose=False)
    show(session, report_of(*[HOLES] * 1_000))
    text = capsys.readouterr().out
    assert "... and 950 more series; --json has all" in text
    assert len(text.splitlines()) < 70
