"""Kept schedules are those that the library gives, and are dropped when anything they rest on has changed."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
import pytest

from qmtl.foundation import schedules as module
from qmtl.foundation.compiled import Compiled
from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.schedules import Schedule, Schedules, compiled_key, library_version
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import DAY, to_ns


@pytest.fixture
def kept(tmp_path: Path) -> Compiled:
    return Compiled(tmp_path, compiled_key())


class Builds(list[str]):
    """Which calendars were built, in order."""


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> Builds:
    seen, build = Builds(), module._build

    def noted(name: str) -> tuple[Schedule, bool]:
        seen.append(name)
        return build(name)

    monkeypatch.setattr(module, "_build", noted)
    return seen


def same(a: Schedule, b: Schedule) -> bool:
    return (
        (a.known, a.zone) == (b.known, b.zone)
        and a.sessions == b.sessions
        and np.array_equal(a.dates, b.dates)
    )


@pytest.mark.parametrize("name", ["XNYS", "XTKS", "CMES", "XASX", "24/7"])
def test_what_is_kept_is_what_was_built(kept: Compiled, builds: Builds, name: str) -> None:
    built = Schedules(kept).of(name)
    read = Schedules(kept).of(name)
    assert builds == [name]
    assert same(built, read)
    assert not read.dates.flags.writeable


def test_the_names_are_those_of_the_library(kept: Compiled) -> None:
    import exchange_calendars

    for names in (Schedules(kept).names, Schedules(kept).names):
        assert set(names.calendars) == set(exchange_calendars.get_calendar_names(include_aliases=False))
        assert names.aliases == exchange_calendars.aliases_to_names()


def test_an_alias_is_the_calendar_that_it_stands_for(kept: Compiled, builds: Builds) -> None:
    assert same(Schedules(kept).of("XNAS"), Schedules(kept).of("XNYS"))
    assert builds == ["XNYS"]


def test_damage_is_built_anew(kept: Compiled, builds: Builds) -> None:
    built = Schedules(kept).of("XNYS")
    damaged = bytearray(kept.path("XNYS").read_bytes())
    damaged[-100] ^= 1
    kept.path("XNYS").write_bytes(damaged)
    assert same(Schedules(kept).of("XNYS"), built)
    assert same(Schedules(kept).of("XNYS"), built)
    assert builds == ["XNYS", "XNYS"]


@pytest.mark.parametrize("package", ["exchange-calendars", "pandas", "format"])
def test_another_version_is_built_anew(tmp_path: Path, builds: Builds, package: str) -> None:
    Schedules(Compiled(tmp_path, compiled_key())).of("XSES")
    Schedules(Compiled(tmp_path, compiled_key() | {package: "0"})).of("XSES")
    assert builds == ["XSES", "XSES"]


def test_other_rules_of_the_zone_are_built_anew(
    kept: Compiled, builds: Builds, monkeypatch: pytest.MonkeyPatch
) -> None:
    Schedules(kept).of("XSES")
    monkeypatch.setattr(module, "zone_digest", lambda zone: f"other rules of {zone}")
    Schedules(kept).of("XSES")
    Schedules(kept).of("XSES")
    assert builds == ["XSES", "XSES"]


def test_what_was_built_earlier_holds_within_its_range(
    kept: Compiled, builds: Builds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library looks a year ahead of the day on which it is asked."""
    today = module._today()
    ours = Schedules(kept)
    earlier = ours.of("XNYS")
    monkeypatch.setattr(module, "_today", lambda: today + datetime.timedelta(days=40))
    past = Span(to_ns("2024-01-01"), to_ns("2024-02-01"))
    beyond = Span(earlier.known.end - DAY, earlier.known.end + DAY)
    for asked in (ours, Schedules(kept)):
        assert asked.of("XNYS", past).known == earlier.known
    assert builds == ["XNYS"]
    # The machine's own clock stands still here, so the library has no more; but it was asked.
    for asked in (ours, Schedules(kept)):
        asked.of("XNYS", beyond)
        asked.of("XNYS", beyond)
    assert builds == ["XNYS", "XNYS"]


def test_a_fault_of_the_library_is_reported_as_such(kept: Compiled, builds: Builds) -> None:
    ours = Schedules(kept)
    for _ in range(2):  # never taken from memory or from a file: it is tried again
        with pytest.raises(InvalidRequestError) as caught:
            ours.of("XTAE", Span(0, DAY))
        message = str(caught.value)
        for fact in ("XTAE", "exchange_calendars", library_version(), "ValueError", "qmtl calendars"):
            assert fact in message
        assert "\n" not in str(caught.value.why)
    assert builds == ["XTAE", "XTAE"]
    found = Schedules(kept).summary("XTAE")
    assert found[:3] == (None, None, None)
    assert str(found.why).startswith("ValueError: ")
    assert builds == ["XTAE", "XTAE"], "for a list, what failed before has failed"


@pytest.mark.parametrize("name", ["XNYS", "XTAE"])
def test_a_summary_is_the_same_built_or_read(kept: Compiled, builds: Builds, name: str) -> None:
    assert Schedules(kept).summary(name) == Schedules(kept).summary(name)
    assert builds == [name]
    if name == "XNYS":
        dates = Schedules(kept).of(name).dates
        summary = Schedules(kept).summary("XNAS")
        assert summary == ("America/New_York", dates[0], dates[-1], None)


def test_a_fault_of_the_moment_is_not_kept(kept: Compiled, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(name: str) -> tuple[Schedule, bool]:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(module, "_build", full)
        with pytest.raises(MemoryError):
            Schedules(kept).of("XSES")
    assert Schedules(kept).summary("XSES").why is None


def test_a_calendar_that_the_user_registered_is_not_kept(kept: Compiled) -> None:
    import exchange_calendars
    from exchange_calendars.weekday_calendar import WeekdayCalendar

    class Mine(WeekdayCalendar):
        name = "MINE"

    exchange_calendars.register_calendar_type("MINE", Mine)
    try:
        ours = Schedules(kept)
        assert ours.names.has("XNYS")
        assert ours.knows("MINE")
        assert ours.of("MINE").sessions
        assert not kept.path("MINE").exists()
    finally:
        exchange_calendars.deregister_calendar("MINE")
    assert not Schedules(kept).knows("MINE")
