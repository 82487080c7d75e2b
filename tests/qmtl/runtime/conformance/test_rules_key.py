"""The key of flags differs whenever something does that they depend on, beside rows and answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from qmtl.foundation import calendars
from qmtl.foundation.calendars import FX, AlwaysOpen, ExchangeCalendar, WeeklyCalendar
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import Timeframe
from qmtl.foundation.timeline import Coverage, Span
from qmtl.runtime.conformance import rules_key as module
from qmtl.runtime.conformance.registered_schema import Bounds, Column, RegisteredSchema
from qmtl.runtime.conformance.rules import DEFAULT_THRESHOLDS
from qmtl.runtime.conformance.rules_key import rules_key

MINUTES = Timeframe.parse("1m")
SCHEMA = RegisteredSchema("bars", 1, (Column("close"),))
GIVEN: dict[str, Any] = {
    "thresholds": DEFAULT_THRESHOLDS,
    "grid": Grid(MINUTES),
    "facts": SeriesFacts(),
    "schema": SCHEMA,
}


@pytest.fixture(autouse=True)
def _fresh() -> None:
    module._key.cache_clear()


@pytest.mark.parametrize(
    "changed",
    [
        {"thresholds": replace(DEFAULT_THRESHOLDS, spike_least=0.123)},
        {"grid": Grid(Timeframe.parse("5m"))},
        {"grid": Grid(MINUTES, FX)},
        {"grid": Grid(MINUTES, ExchangeCalendar("XNYS"))},
        {"grid": Grid(MINUTES, ExchangeCalendar("XNYS"), "session")},
        {"facts": SeriesFacts(has_volume=False)},
        {"facts": SeriesFacts(allow_nonpositive=True)},
        {"schema": None},
        {"schema": replace(SCHEMA, version=2)},
        {"schema": replace(SCHEMA, columns=(Column("close", bounds=Bounds(least=0)),))},
        {"schema": replace(SCHEMA, id=7)},
    ],
    ids=str,
)
def test_a_change_of_one_is_another_key(changed: dict[str, Any]) -> None:
    before = rules_key(**GIVEN)
    assert before is not None
    assert len(before) == 16
    assert rules_key(**GIVEN) == before
    assert rules_key(**{**GIVEN, **changed}) != before


def test_another_version_of_the_package_is_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = rules_key(**GIVEN)
    module._key.cache_clear()
    monkeypatch.setattr(module, "__version__", "0.0.0")
    assert rules_key(**GIVEN) != before


@pytest.mark.parametrize("calendar", [FX, ExchangeCalendar("XNYS")])
@pytest.mark.parametrize("what", ["zone_digest", "compiled_key"])
def test_another_version_of_a_calendar_is_another_key(
    calendar: WeeklyCalendar | ExchangeCalendar, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {**GIVEN, "grid": Grid(MINUTES, calendar)}
    before = rules_key(**given)
    module._key.cache_clear()
    monkeypatch.setattr(calendars, what, lambda *_: "another")
    is_free_of_it = calendar is FX and what == "compiled_key"
    assert (rules_key(**given) == before) is is_free_of_it


class Own:
    """A calendar of the user's, which can change without a sign."""

    def sessions(self, span: Span) -> Coverage:
        return Coverage.of(span)


def test_a_calendar_of_the_users_has_no_key() -> None:
    assert rules_key(**{**GIVEN, "grid": Grid(MINUTES, Own())}) is None
    assert rules_key(**{**GIVEN, "grid": Grid(MINUTES, AlwaysOpen())}) is not None
