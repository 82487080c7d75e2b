"""The installed script as a shell runs it: pipes that close, interrupts, and runs that resume."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from threading import Timer

import pytest

from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import to_ns
from qmtl.runtime.testing import synthetic_bars

SERIES = "ohlcv:test:BTC/USDT:1m"
DAY = ("2024-01-01", "2024-01-02")
QMTL = Path(sys.executable).with_name("qmtl")

# `qmtl` with a scripted vendor in place of the configured one; it hangs after so many pages.
SCRIPTED = """
import sys
from qmtl.interfaces.cli.main import run
from qmtl.runtime.sdk import from_settings
from qmtl.runtime.testing import Hang, ScriptedVendor

pages = int(sys.argv.pop(1))
vendor = ScriptedVendor(page_rows=65_536, faults={pages: Hang()})
from_settings.vendor = lambda settings: vendor
try:
    run()
finally:
    print("asked from", [str(call.span) for call in vendor.calls], file=sys.stderr)
"""


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store of one imported day, made by the script itself."""
    bars = synthetic_bars(SeriesId.parse(SERIES), Span(to_ns(DAY[0]), to_ns(DAY[1])))
    bars.write_parquet(tmp_path / "bars.parquet")
    command = [QMTL, "--store", "bars", "import", "bars.parquet", "--series", SERIES]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return tmp_path / "bars"


def test_stdout_is_json_alone_and_bad_input_is_exit_2(store: Path) -> None:
    command = [QMTL, "--store", store, "--json", "store", "info"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=store.parent)
    assert json.loads(done.stdout)["rows"] == 1_440
    bad = subprocess.run(
        [QMTL, "--store", store, "fetch", SERIES, *reversed(DAY)],
        capture_output=True,
        text=True,
        cwd=store.parent,
    )
    assert bad.returncode == 2
    assert "Traceback" not in bad.stderr


def test_a_pipe_that_closes_is_no_matter(store: Path) -> None:
    command = [QMTL, "--store", store, "--json", "fetch", SERIES, *DAY, "--strategy", "FAIL_FAST"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=store.parent
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        assert child.stdout.readline() == "{\n"
        child.stdout.close()
        reported = child.stderr.read()
        assert child.wait(timeout=60) == 141
    for word in ("Traceback", "BrokenPipe", "defect", "error"):
        assert word not in reported


@pytest.mark.parametrize("words", ["reports rules", "--json reports rules", "store info"])
def test_a_reader_that_is_gone_before_the_first_word(store: Path, words: str) -> None:
    with subprocess.Popen(
        [QMTL, "--store", store, *words.split()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=store.parent,
    ) as child:
        assert child.stdout is not None
        child.stdout.close()
        _, reported = child.communicate(timeout=60)
        assert child.returncode == 141, reported
    for word in ("Traceback", "BrokenPipe", "defect", "error:"):
        assert word not in reported


def test_ctrl_c_leaves_what_was_committed_and_the_next_run_asks_for_the_rest(tmp_path: Path) -> None:
    (tmp_path / "qmtl.yml").write_text(
        "seamless:\n  vendors:\n    - {match: '*', kind: files, path: 'unused/{symbol}.csv'}\n"
    )
    span = ("2023-01-01", "2023-07-01")  # 260,640 bars: four pages

    def command(pages: int) -> list[str]:
        return [
            sys.executable,
            "-c",
            SCRIPTED,
            str(pages),
            "-v",
            "--store",
            "bars",
            "backfill",
            SERIES,
            *span,
        ]

    with subprocess.Popen(
        command(2), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stderr is not None
        watchdog = Timer(60, child.kill)
        watchdog.start()
        committed = 0
        while committed < 2:
            line = child.stderr.readline()
            assert line, "it ended before it was interrupted"
            committed += "backfill.committed" in line
        os.kill(child.pid, signal.SIGINT)
        rest = child.stderr.read()
        assert child.wait(timeout=60) == 130
        watchdog.cancel()
    assert "resumes" in rest
    assert "Traceback" not in rest

    again = subprocess.run(command(99), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert "260,640" in again.stdout
    first_asked = again.stderr.rpartition("asked from ['[")[2].partition(",")[0]
    assert to_ns(first_asked) == to_ns(span[0]) + 2 * 65_536 * 60 * 10**9


# `qmtl` that shows its bars from the first moment.
IMPATIENT = """
from qmtl.interfaces.cli import progress
from qmtl.interfaces.cli.main import run

progress.PATIENCE_S = 0.0
run()
"""


def on_a_terminal(command: list[str], cwd: Path) -> tuple[int, str]:
    """The exit code of a command whose stderr is a terminal, and what was shown there."""
    ours, theirs = os.openpty()
    with subprocess.Popen(
        command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=theirs, env={**os.environ, "TERM": "xterm"}
    ) as child:
        os.close(theirs)
        shown = b""
        while True:
            try:
                some = os.read(ours, 65_536)
            except OSError:  # how Linux tells that nobody holds the other end any more
                break
            if not some:
                break
            shown += some
        code = child.wait(timeout=60)
    os.close(ours)
    return code, shown.decode()


def test_an_import_shows_how_much_of_the_file_is_read(tmp_path: Path) -> None:
    span = Span(to_ns("2023-01-01"), to_ns("2024-01-01"))
    bars = synthetic_bars(SERIES, span)
    bars.with_columns(bars["ts"].dt.to_string("%Y-%m-%dT%H:%M:%SZ")).write_csv(tmp_path / "year.csv")
    command = [sys.executable, "-c", IMPATIENT, "--store", "bars", "import", "year.csv", "--series", SERIES]
    code, shown = on_a_terminal(command, tmp_path)
    assert code == 0, shown
    assert re.search(r"reading year\.csv.*100%.*525600/525600", shown)
    assert "writing year.csv" in shown
