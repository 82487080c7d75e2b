"""Hints speak of flags on a command line, of keys in qmtl.yml, and of options in Python."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry

import qmtl
from qmtl.interfaces.cli.import_bars import import_bars
from qmtl.interfaces.cli.main import COMMANDS
from qmtl.interfaces.cli.on_demand import function_of
from qmtl.interfaces.cli.wording import in_words_of
from qmtl.runtime.io.bar_files import ReadingOptions
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore

if TYPE_CHECKING:
    from tests.qmtl.command_line import CommandLine

DAY = ("2024-01-01", "2024-01-02")


@pytest.mark.parametrize(
    ("message", "flags"),
    [
        ("pass `partial_ok=True`", "pass --partial-ok"),
        ("give a later `as_of=`, or none", "give a later --as-of, or none"),
        ("use `strategy='SEAMLESS'`; or wait", "use --strategy SEAMLESS; or wait"),
        ("say `as_of='a|b c'`", "say --as-of 'a|b c'"),
        ("write `columns='ts=date,open=o,...'`", "write columns: ts=date,open=o,..."),
        ("say `where='name=\"Acme, Inc.\"'`", 'say where: name="Acme, Inc."'),
        ("`tz=` cannot be used", "tz cannot be used"),
        ("see `coverage(...)`", "see 'qmtl coverage'"),
        ("run `qmtl store verify`", "run `qmtl store verify`"),
        ("nothing of the kind", "nothing of the kind"),
    ],
)
def test_an_option_is_a_flag_where_the_command_has_it_and_else_a_key(message: str, flags: str) -> None:
    assert in_words_of({"partial_ok", "as_of", "strategy"}, message) == flags


def test_every_option_of_python_that_a_hint_may_name_is_a_flag_of_its_command() -> None:
    fetch = inspect.signature(qmtl.SeamlessDataProvider.fetch).parameters
    of_fetch = set(fetch) - {"self", "series", "start", "end", "on_progress", "progress"}
    assert of_fetch <= set(inspect.signature(function_of(COMMANDS["fetch"])).parameters)
    assert set(ReadingOptions.__annotations__) <= set(inspect.signature(import_bars).parameters)


def test_the_same_refusal_in_python_and_on_the_command_line(cli: CommandLine) -> None:
    series = "ohlcv:nowhere:BTC/USDT:1h"
    with (
        qmtl.SeamlessDataProvider(cli.folder / "other", metrics_registry=CollectorRegistry()) as provider,
        pytest.raises(qmtl.MissingDataError) as refused,
    ):
        provider.fetch(series, *DAY)
    assert "`partial_ok=True`" in str(refused.value)
    reported = cli.run("fetch", series, *DAY)
    assert reported.exit_code == 3
    assert "--partial-ok" in reported.stderr
    assert "partial_ok" not in reported.stderr
    document = cli.json("fetch", series, *DAY, code=3)
    assert "--partial-ok" in document["error"]["next_step"]
    assert "partial_ok" not in str(document)


ASKED: dict[str, tuple[tuple[str, ...], str]] = {
    "strategy": (("fetch", "ohlcv:x:y:1h", *DAY, "--strategy", "FAIL_FAST"), "--partial-ok"),
    "a point in time": (("fetch", "ohlcv:x:y:1h", *DAY, "--as-of", "2020-01-01"), "--as-of"),
    "a point in the future": (("coverage", "ohlcv:x:y:1h", *DAY, "--as-of", "2200-01-01"), "--as-of"),
    "a zone": (("import", "bars.csv", "--series", "ohlcv:x:y:1h", "--tz", "Mars/Olympus"), "--tz America"),
    "a column": (("import", "bars.csv", "--series", "ohlcv:x:y:1h"), "--columns close=NAME"),
}


@pytest.mark.parametrize("name", ASKED)
def test_a_hint_of_a_command_names_its_own_flags(cli: CommandLine, name: str) -> None:
    words, flag = ASKED[name]
    (cli.folder / "bars.csv").write_text("ts,open,high,low,volume\n2024-01-01T00:00Z,1,1,1,1\n")
    EmbeddedStore(cli.store).close()
    reported = cli.run(*words)
    assert reported.exit_code in (2, 3), reported.output
    next_step = reported.stderr.partition("next:")[2]
    assert flag in next_step
    assert not re.search(r"`\w+=|\w_ok=", reported.stderr)


def test_a_slip_of_a_file_is_reported_to_a_vendor_of_the_settings_in_keys(cli: CommandLine) -> None:
    data = cli.folder / "data"
    data.mkdir()
    (data / "y.csv").write_text("ts,open,high,low,close,volume\n1704067200,1,1,1,1,1\n")
    cli.config.write_text(
        "seamless:\n  vendors:\n    - {match: '*', kind: files, path: 'data/{symbol}.csv'}\n"
    )
    reported = cli.run("fetch", "ohlcv:x:y:1h", *DAY)
    assert reported.exit_code == 2
    assert "next:   say unit s, ms, us or ns" in reported.stderr


def test_a_note_of_an_import_speaks_of_flags(cli: CommandLine) -> None:
    path = Path(cli.folder, "bars.csv")
    path.write_text("ts,open,high,low,close,volume\n2024-01-01T00:00Z,1,1,1,1,1\n")
    reported = cli.run("import", path, "--series", "ohlcv:x:y:1h", "--tz", "Asia/Tokyo")
    assert reported.exit_code == 0, reported.output
    assert "--tz Asia/Tokyo is not used" in reported.stdout
