"""What is declared is tried before anything rests on it; what works no more stands in nobody's way."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.series import SeriesId
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.testing import ScriptedVendor

if TYPE_CHECKING:
    from tests.qmtl.command_line import CommandLine

SERIES = "ohlcv:mine:TEVA:1d"
OTHER = "ohlcv:mine:GOLD:1d"
# What exchange_calendars 4.13.2 cannot build: a fault in its rules, and four that were never finished.
UNBUILDABLE = ("XTAE", "ASEX", "XBEL", "XBSE", "XCYS")
CSV = "ts,open,high,low,close,volume\n" + "".join(f"2024-01-{day:02},2,3,1,2,10\n" for day in (2, 3, 4, 5))


def import_(cli: CommandLine, series: str = SERIES, *options: str, text: str = CSV) -> int:
    (cli.folder / "bars.csv").write_text(text)
    result = cli.run("import", "bars.csv", "--series", series, *options)
    if result.exit_code == 1:
        pytest.fail(result.output)
    return result.exit_code


def rows(cli: CommandLine) -> dict[str, int]:
    with EmbeddedStore(cli.store) as store:
        return {str(one.series): one.rows for one in store.list_series()}


def declare(cli: CommandLine, series: str, facts: SeriesFacts) -> None:
    """As an earlier version, for which the calendar worked."""
    with EmbeddedStore(cli.store) as store:
        store.declare(SeriesId.parse(series), facts)


@pytest.mark.parametrize("calendar", UNBUILDABLE)
def test_a_file_for_a_calendar_that_cannot_be_built_leaves_no_trace(cli: CommandLine, calendar: str) -> None:
    result_before = sorted(path.name for path in cli.folder.iterdir())
    assert import_(cli, SERIES, "--calendar", calendar) == 2
    assert sorted(path.name for path in cli.folder.iterdir()) == sorted([*result_before, "bars.csv"])
    assert import_(cli, OTHER) == 0
    assert import_(cli, SERIES, "--calendar", calendar) == 2
    assert rows(cli) == {OTHER: 4}
    error = cli.json("import", "bars.csv", "--series", SERIES, "--calendar", calendar, code=2)["error"]
    assert f"the calendar {calendar} cannot be built" in error["message"]
    assert "exchange_calendars" in error["why"]


def test_a_file_beyond_what_a_calendar_knows_leaves_no_trace(cli: CommandLine) -> None:
    """Tokyo's calendar begins with 1997."""
    old = CSV.replace("2024-", "1996-")
    assert import_(cli, SERIES, "--calendar", "XTKS", text=old) == 2
    assert not cli.store.exists()
    # A range that is claimed beyond the rows is the same.
    claim = ("--answered", "1996-12-01", "2024-01-06")
    assert import_(cli, SERIES, "--calendar", "XTKS", *claim) == 2
    assert not cli.store.exists()


def test_a_calendar_is_tried_on_what_is_stored_already(cli: CommandLine) -> None:
    assert import_(cli, SERIES, text=CSV.replace("2024-", "1996-")) == 0
    assert import_(cli, SERIES, "--calendar", "XTKS") == 2
    assert rows(cli) == {SERIES: 4}
    assert cli.run("store", "declare", SERIES, "--calendar", "XTKS").exit_code == 2
    assert cli.run("store", "declare", SERIES, "--calendar", "XNYS").exit_code == 0
    assert import_(cli, SERIES, "--calendar", "XNYS") == 0
    assert rows(cli) == {SERIES: 8}


def test_a_calendar_of_the_settings_is_tried_before_the_commit(cli: CommandLine) -> None:
    cli.config.write_text("seamless: {series: [{match: '*:TEVA:*', calendar: XTAE}]}\n")
    assert import_(cli, SERIES) == 2
    assert import_(cli, OTHER) == 0
    assert rows(cli) == {OTHER: 4}
    checks = {check["subject"]: check for check in cli.json("doctor", code=7)}
    broken = checks["series *:TEVA:*"]
    assert broken["outcome"] == "fail"
    assert "qmtl.yml:1" in broken["detail"]
    assert "XTAE cannot be built" in broken["detail"]


def test_no_vendor_is_asked_for_a_calendar_that_cannot_be_built(
    cli: CommandLine, vendor: Callable[..., ScriptedVendor]
) -> None:
    scripted = vendor()
    config = cli.config.read_text()
    cli.config.write_text(config + "  series: [{match: '*:TEVA:*', calendar: XTAE}]\n")
    for command in ("fetch", "backfill", "coverage"):
        result = cli.run(command, SERIES, "2024-01-02", "2024-01-06")
        assert result.exit_code == 2, result.output
        assert "XTAE cannot be built" in result.stderr
    assert scripted.calls == []
    assert rows(cli) == {}


@pytest.mark.parametrize("calendar", ["XTAE", "XXXX"])
def test_a_stored_calendar_that_works_no_more(cli: CommandLine, calendar: str) -> None:
    """The series says why; all others, and the commands that change it, go on."""
    for series in (SERIES, OTHER):
        assert import_(cli, series) == 0
    declare(cli, SERIES, SeriesFacts(calendar=calendar, has_volume=True))

    asked = ("2024-01-02", "2024-01-06", "--strategy", "FAIL_FAST")
    failed = cli.run("fetch", SERIES, *asked)
    assert failed.exit_code == 2
    assert calendar in failed.stderr
    assert cli.run("fetch", OTHER, *asked).exit_code == 0
    assert cli.run("store", "info").exit_code == 0
    assert cli.run("export", SERIES, "-o", "out.csv").exit_code == 0

    found = cli.json("store", "verify", code=7)
    assert found["sound"]
    assert [(one["series"], one["calendar"]) for one in found["declarations"]] == [(SERIES, calendar)]
    reported = cli.run("store", "verify")
    assert f"qmtl store declare {SERIES} --calendar" in reported.stderr
    assert "all is sound" not in reported.stdout
    checks = {check["subject"]: check for check in cli.json("doctor", code=7)}
    assert checks[f"series {SERIES}"]["outcome"] == "fail"
    assert calendar in checks[f"series {SERIES}"]["detail"]
    assert f"qmtl store declare {SERIES} --calendar" in checks[f"series {SERIES}"]["fix"]
    assert f"series {OTHER}" not in checks

    assert cli.run("store", "declare", SERIES, "--calendar", "XNYS").exit_code == 0
    assert cli.run("store", "verify").exit_code == 0
    assert cli.run("fetch", SERIES, *asked).exit_code == 0
    with EmbeddedStore(cli.store) as store:
        assert store.facts(SeriesId.parse(SERIES)) == SeriesFacts(calendar="XNYS", has_volume=True)


def test_facts_that_need_no_calendar_can_be_declared_beside_a_broken_one(cli: CommandLine) -> None:
    assert import_(cli) == 0
    declare(cli, SERIES, SeriesFacts(calendar="XTAE"))
    assert cli.run("store", "declare", SERIES, "--no-has-volume").exit_code == 0
    assert cli.run("store", "declare", SERIES, "--anchor", "session").exit_code == 2
    assert cli.run("store", "declare", SERIES, "--anchor", "session", "--calendar", "24x7").exit_code == 0


def test_an_anchor_is_tried_on_what_is_stored_already(cli: CommandLine) -> None:
    """Hours on the clock are no hours from 9:30, and the other way round."""
    hourly = "ohlcv:mine:AAPL:1h"
    clock = "ts,open,high,low,close,volume\n" + "".join(
        f"2024-01-02T{hour}:00Z,2,3,1,2,10\n" for hour in range(14, 21)
    )
    assert import_(cli, hourly, "--calendar", "XNYS", text=clock) == 0
    refused = cli.run("store", "declare", hourly, "--anchor", "session")
    assert refused.exit_code == 2
    assert "7 of 7 stored bars" in refused.stderr
    assert "2024-01-02T14:00:00Z" in refused.stderr
    assert import_(cli, "ohlcv:mine:MSFT:1h") == 0
    with EmbeddedStore(cli.store) as store:
        assert store.facts(SeriesId.parse(hourly)) == SeriesFacts(calendar="XNYS")


def test_what_fails_after_the_commit_says_that_the_rows_are_stored(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qmtl.foundation.errors import StoreError

    def full(self: EmbeddedStore, series: SeriesId, report: object) -> int:
        raise StoreError("there is no room left for the store", path=self.path)

    monkeypatch.setattr(EmbeddedStore, "archive_report", full)
    (cli.folder / "bars.csv").write_text(CSV)
    result = cli.run("import", "bars.csv", "--series", SERIES)
    assert result.exit_code == 7
    assert "no room left" in result.stderr
    assert "the rows of the file are stored, as of " in result.stderr
    assert rows(cli) == {SERIES: 4}
