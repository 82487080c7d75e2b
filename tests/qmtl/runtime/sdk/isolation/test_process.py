"""An isolated strategy comes to the same, and whatever it tries beside its bars is stopped."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from qmtl import (
    Bar,
    InvalidRequestError,
    LookAheadError,
    Portfolio,
    Runner,
    SeamlessDataProvider,
    Span,
    Strategy,
    StrategyError,
    StreamInput,
    import_frame,
    node,
)
from qmtl.foundation.times import HOUR, to_ns
from qmtl.interfaces.cli.main import app
from qmtl.runtime.sdk.isolation import process, sandbox
from qmtl.runtime.testing import Deliver, FakeClock, ScriptedFeed, synthetic_bars

A = "ohlcv:mine:A:1h"
START, END = to_ns("2024-03-01"), to_ns("2024-03-04")
CROSS = """\
import polars as pl
import qmtl
from sizes import SIZE

class Cross(qmtl.Strategy):
    price = qmtl.StreamInput("ohlcv:mine:A:1h", window=5)
    fast = qmtl.node(price, pl.col("close").tail(2).mean())
    slow = qmtl.node(price, lambda window: window["close"].mean())

    def on_bar(self, bar, portfolio):
        at_random = 1 + self.random.random() / 100
        portfolio.target(bar.series, SIZE * at_random if self.fast > self.slow else 0.0)
"""


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a store, a file of bars, and strategies."""
    monkeypatch.chdir(tmp_path)
    bars = synthetic_bars(A, Span(START - 48 * HOUR, END))
    import_frame("bars", bars, A)
    bars.write_csv("A.csv")
    Path("cross.py").write_text(CROSS)
    Path("sizes.py").write_text("SIZE = 0.5\n")
    return tmp_path


@pytest.fixture
def history(desk: Path) -> Iterator[SeamlessDataProvider]:
    with SeamlessDataProvider("bars", vendors={}) as made:
        yield made


def submit(strategy: Any, history: SeamlessDataProvider, **options: Any) -> Any:
    return Runner.submit(strategy, history_provider=history, start=START, end=END, **options)


@pytest.mark.parametrize("knowledge", ["as_of", "as_known"])
def test_an_isolated_strategy_comes_to_the_same_proof(history: SeamlessDataProvider, knowledge: str) -> None:
    alone = submit("cross.py", history, isolate=True, knowledge=knowledge, seed=7)
    here = submit("cross.py", history, knowledge=knowledge, seed=7)
    assert alone.fills.height > 5
    assert alone.proof == here.proof
    assert alone.fills.equals(here.fills)
    assert alone.equity.equals(here.equity)
    for isolate in (False, True):
        again = Runner.verify(alone.proof, "cross.py", history_provider=history, isolate=isolate)
        assert again.proof == here.proof


class Held(Strategy):
    price = StreamInput(A, window=2)
    mean = node(price, lambda window: window["close"].mean())

    def __init__(self, weight: float = 0.25) -> None:
        self.weight = weight

    def on_bar(self, bar: Bar, portfolio: Portfolio) -> None:
        portfolio.target(bar.series, self.weight)


class Declared(Strategy):
    price = StreamInput(A, window=2)
    mean = node(price, pl.col("close").mean())
    last = node(price, pl.col("close").last())
    target = pl.when(pl.col("last") > pl.col("mean")).then(0.5).otherwise(0.0)


def test_a_target_decides_there_as_well(history: SeamlessDataProvider) -> None:
    here = submit(Declared, history)
    assert here.fills.height > 0
    assert submit(Declared, history, isolate=True).proof == here.proof


def test_a_class_and_an_instance_are_isolated_as_well(history: SeamlessDataProvider) -> None:
    for strategy in (Held, Held(0.75)):
        assert submit(strategy, history, isolate=True).proof == submit(strategy, history).proof
    assert submit(Held(0.75), history).proof.outcome != submit(Held, history).proof.outcome


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.asked = True  # type: ignore[attr-defined]
        self.send_response(200)
        self.end_headers()


@pytest.fixture
def vendor() -> Iterator[http.server.HTTPServer]:
    """A server that remembers whether anybody asked."""
    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    server.asked = False  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


# Each is tried when the file is loaded, where nothing of Python's own watches: what stops it is the system.
TRIES = {
    "the store": "open(STORE, 'rb').read()",
    "the store, by its number": "os.open(STORE, os.O_RDONLY)",
    "the store, by SQLite": "sqlite3.connect(STORE).execute('select * from sqlite_master').fetchall()",
    "the store, in a thread": "in_thread(open, STORE)",
    "the store, by a child": "in_child(open, STORE)",
    "the store, through its parent": "[open(link) for link in links()][0]",
    "the memory of its parent": "open(f'/proc/{os.getppid()}/mem', 'rb')",
    "the environment of its parent": "open(f'/proc/{os.getppid()}/environ', 'rb').read()",
    "the file of the vendor": "open(FILE).read()",
    "the file of the vendor, by polars": "polars.read_csv(FILE)",
    "the file of the vendor, by polars, later": "polars.scan_csv(FILE).collect()",
    "another program": "subprocess.run(['/bin/cat', FILE], check=True, stdout=subprocess.DEVNULL)",
    "a connection to the vendor": "urllib.request.urlopen(URL).read()",
    "a connection to the vendor, by a child": "in_child(urllib.request.urlopen, URL)",
    "a socket": "socket.socket(socket.AF_UNIX)",
    "two sockets": "socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)",
    "a socket, by its number": "called(41 if platform.machine() == 'x86_64' else 198, 2, 1, 0)",
    "a ring of calls": "called(425, 8, ctypes.create_string_buffer(120))",
    "a link to the store": "os.link(STORE, STORE + '.link')",
    "a file to write to": "open(STORE + '.new', 'w')",
    "a file to append to": "open(FILE, 'a')",
    "a file to remove": "os.unlink('spare')",
    "a file to rename": "os.rename('other', 'another')",
}
TRYING = """\
import ctypes, json, os, platform, socket, sqlite3, subprocess, threading, urllib.request
import polars
import qmtl

STORE, FILE, URL, TRIES = {places!r}

def links():
    folder = f"/proc/{{os.getppid()}}/fd"
    return [f"{{folder}}/{{name}}" for name in os.listdir(folder)]

def called(*arguments):
    if ctypes.CDLL(None, use_errno=True).syscall(*arguments) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

def in_thread(function, *arguments):
    failed = []
    def work():
        try:
            function(*arguments)
        except OSError as error:
            failed.append(error)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]

def in_child(function, *arguments):
    child = os.fork()
    if not child:
        try:
            function(*arguments)
        except OSError:
            os._exit(1)
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        raise PermissionError(13, "not permitted in the child")

stopped = {{}}
for what, attempt in TRIES.items():
    try:
        eval(attempt)
        stopped[what] = None
    except (OSError, sqlite3.Error, polars.exceptions.PolarsError) as error:
        stopped[what] = str(error)

class Tries(qmtl.Strategy):
    price = qmtl.StreamInput("ohlcv:mine:A:1h")

    def on_bar(self, bar, portfolio):
        raise ValueError(json.dumps(stopped))

if __name__ == "__main__":
    print(json.dumps(stopped))
"""
REFUSALS = ("ermission denied", "not permitted", "unable to open")


def test_what_an_isolated_strategy_tries_is_stopped(
    desk: Path, history: SeamlessDataProvider, vendor: http.server.HTTPServer
) -> None:
    places = (
        str(desk / "bars/bars.sqlite"),
        str(desk / "A.csv"),
        f"http://127.0.0.1:{vendor.server_port}/",
        TRIES,
    )
    Path("spare").touch()
    Path("other").touch()
    Path("tries.py").write_text(TRYING.format(places=places))
    with pytest.raises(StrategyError) as caught:
        submit("tries.py", history, isolate=True)
    stopped = json.loads(caught.value.what.split("ValueError: ")[1])
    assert stopped.keys() == TRIES.keys()
    free = {what: why for what, why in stopped.items() if not any(word in str(why) for word in REFUSALS)}
    assert not free
    assert not vendor.asked  # type: ignore[attr-defined]
    assert sorted(path.name for path in (desk / "bars").glob("bars.sqlite.*")) == []
    # The tries are such that they succeed where nobody stops them.
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "tries.py"], capture_output=True, text=True, check=True
    )
    other = json.loads(done.stdout)
    hard = {"the store, through its parent", "the memory of its parent", "the environment of its parent"}
    assert {what for what, why in other.items() if why is not None} <= {*hard, "a ring of calls"}
    assert vendor.asked  # type: ignore[attr-defined]


PEEKS = """\
import qmtl

class Peeks(qmtl.Strategy):
    price = qmtl.StreamInput("ohlcv:mine:A:1h")

    def on_bar(self, bar, portfolio):
        {attempt}
"""


def test_what_it_tries_through_this_package_is_named(history: SeamlessDataProvider) -> None:
    for attempt, tried in (
        ("qmtl.SeamlessDataProvider(vendors={}).fetch(bar.series, '2024-03-01', '2024-03-02')", None),
        ("qmtl.Runner.submit(Peeks, start='2024-03-01')", "start another run"),
        ("__import__('subprocess').run(['true'])", "start a child process"),
    ):
        Path("peeks.py").write_text(PEEKS.format(attempt=attempt))
        with pytest.raises((LookAheadError, StrategyError)) as caught:
            submit("peeks.py", history, isolate=True)
        assert tried is None or caught.value.tried == tried  # type: ignore[union-attr]


def test_a_strategy_that_fails_says_so_with_its_trace(history: SeamlessDataProvider) -> None:
    Path("peeks.py").write_text(PEEKS.format(attempt="{}['nothing']"))
    with pytest.raises(StrategyError, match="on_bar raised KeyError: 'nothing'") as caught:
        submit("peeks.py", history, isolate=True)
    assert caught.value.bar_ts == START
    assert caught.value.alone["start"] == "2024-03-01"
    assert any("peeks.py" in note and "KeyError" in note for note in caught.value.__notes__)


def test_a_process_that_ends_or_never_ends_is_an_error(history: SeamlessDataProvider) -> None:
    for attempt, options, says in (
        ("__import__('os')._exit(3)", {}, "ended with exit code 3"),
        ("__import__('os').kill(__import__('os').getpid(), 9)", {}, "ended by signal 9"),
        ("while True: pass", {"budget": 2.0}, "on_bar raised OverBudget"),
    ):
        Path("peeks.py").write_text(PEEKS.format(attempt=attempt))
        with pytest.raises(StrategyError, match=says):
            submit("peeks.py", history, isolate=True, **options)


def test_what_cannot_be_isolated_is_refused(
    history: SeamlessDataProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Local(Held): ...

    lock = threading.Lock()
    held = Held()
    held.weight = lock  # type: ignore[assignment]
    own = "price = qmtl.StreamInput('ohlcv:mine:A:1h', history_provider=given)"
    Path("own.py").write_text(
        "import qmtl\n\n"
        "given = object.__new__(qmtl.SeamlessDataProvider)\n\n"
        f"class Own(qmtl.Strategy):\n    {own}\n"
    )
    Path("again.py").write_text(f"{CROSS}\nqmtl.Runner.submit(Cross, start='2024-03-01')\n")
    for strategy, says in (
        (Local, "Local cannot be isolated"),
        (object(), "is no strategy"),
        (held, "cannot be handed to its process"),
        ("nowhere.py", "there is no file nowhere.py"),
        ("own.py", "input 'price' has a provider of its own"),
        ("again.py", "line 14: LookAheadError: a strategy tried to start another run"),
    ):
        with pytest.raises(InvalidRequestError, match=says):
            submit(strategy, history, isolate=True)
    monkeypatch.setattr(sandbox, "why_not", lambda: "it takes Linux, and this is another")
    with pytest.raises(InvalidRequestError, match="cannot be isolated on this system") as caught:
        submit(Held, history, isolate=True)
    assert caught.value.why == "it takes Linux, and this is another"


def test_a_store_that_lies_in_reach_is_refused(desk: Path, history: SeamlessDataProvider) -> None:
    package = desk / "library"
    with SeamlessDataProvider(package / "bars", vendors={}) as other:
        import_frame(package / "bars", synthetic_bars(A, Span(START - 48 * HOUR, END)), A)
        before = process.reach_of
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                process,
                "reach_of",
                lambda source: (
                    (found := before(source)) and found._replace(readable=(*found.readable, str(package)))
                ),
            )
            with pytest.raises(InvalidRequestError, match="which an isolated strategy has to read"):
                submit("cross.py", other, isolate=True)


def test_a_command_isolates_a_strategy_that_it_does_not_load_itself(desk: Path) -> None:
    Path("qmtl.yml").write_text("seamless: {store: bars}\n")
    Path("marked.py").write_text(
        CROSS + "\nimport os\nprint('loaded by', os.getpid())\nprint('as', Cross.__module__)\n"
    )
    words = ["--json", "submit", "marked.py", "--start", "2024-03-01", "--end", "2024-03-04"]
    alone = CliRunner().invoke(app, [*words, "--isolate", "--proof", "alone.json"])
    assert alone.exit_code == 0, alone.output
    assert "loaded by" not in alone.output, "this process has not"
    here = CliRunner().invoke(app, [*words, "--proof", "here.json"])
    assert here.exit_code == 0, here.output
    assert json.loads(Path("alone.json").read_text()) == json.loads(Path("here.json").read_text())
    verified = CliRunner().invoke(app, ["replay", "verify", "alone.json", "--isolate"])
    assert verified.exit_code == 0, verified.output
    assert "loaded by" not in verified.output, "nor has it to verify"


SCRIPT = """\
import qmtl
from desk.cross import Packed

class Own(qmtl.Strategy):
    price = qmtl.StreamInput("ohlcv:mine:A:1h")

    def on_bar(self, bar, portfolio):
        portfolio.target(bar.series, 0.1)

if __name__ == "__main__":
    with qmtl.SeamlessDataProvider("bars", vendors={}) as history:
        for strategy in (Packed, Own):
            one, two = (
                qmtl.Runner.submit(
                    strategy, history_provider=history, start="2024-03-01", end="2024-03-04", isolate=alone
                )
                for alone in (True, False)
            )
            print(one.proof.strategy, one.proof == two.proof)
"""


def test_the_class_of_a_package_and_that_of_a_script(desk: Path) -> None:
    Path("desk").mkdir()
    Path("desk/__init__.py").touch()
    Path("desk/sizes.py").write_text("SIZE = 0.5\n")
    packed = CROSS.replace("from sizes", "from .sizes").replace("Cross", "Packed")
    Path("desk/cross.py").write_text(packed)
    Path("script.py").write_text(SCRIPT)
    done = subprocess.run([sys.executable, "script.py"], capture_output=True, text=True, check=False)
    assert done.stdout == "desk.cross:Packed True\n__main__:Own True\n", done.stderr


def test_it_ends_when_the_process_that_reads_bars_is_killed(desk: Path) -> None:
    Path("peeks.py").write_text(PEEKS.format(attempt="while not print('at work', flush=True): pass"))
    words = ["--store", "bars", "submit", "peeks.py", "--start", "2024-03-01", "--end", "2024-03-04"]
    program = "from qmtl.interfaces.cli.main import app; app()"
    command = [sys.executable, "-c", program, *words, "--isolate"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == "at work\n"
        killed.kill()
        # What it writes ends: nobody has the other end of this pipe any more.
        killed.communicate(timeout=120)


CLOSED = START + 24 * HOUR


@contextmanager
def on_paper(folder: Path) -> Iterator[SeamlessDataProvider]:
    """A store with all bars up to a time, and a feed that brings the others as they close."""
    bars = synthetic_bars(A, Span(START - 48 * HOUR, END))
    later = pl.col("ts").cast(pl.Int64) >= CLOSED
    import_frame(folder, bars.filter(~later), A)
    lines = [
        Deliver(3600.0 + (place == 0), row) for place, row in enumerate(bars.filter(later).iter_slices(1))
    ]
    feed, clock = ScriptedFeed(lines, ends=True), FakeClock(CLOSED)
    with SeamlessDataProvider(folder, {}, {"ohlcv:*": feed}, clock=clock, progress=False) as provider:
        yield provider


def test_an_isolated_strategy_goes_on_paper_to_the_same_proof(desk: Path) -> None:
    proofs = []
    for isolate in (False, True):
        with on_paper(desk / f"paper-{isolate}") as provider:
            run = submit("cross.py", provider, mode="paper", isolate=isolate, seed=7)
            assert run.fills.height > 5
            assert run.figures.bars == (END - START) // HOUR
            assert Runner.verify(run.proof, "cross.py", history_provider=provider, isolate=isolate)
            proofs.append(run.proof)
    here, alone = proofs
    assert (alone.outcome, alone.source, alone.span) == (here.outcome, here.source, here.span)
    assert [part.fingerprint for part in alone.read] == [part.fingerprint for part in here.read]


OPENS = """\
import qmtl

class Opens(qmtl.Strategy):
    price = qmtl.StreamInput("ohlcv:mine:A:1h")

    def on_bar(self, bar, portfolio):
        if bar.ts == %d:
            open("A.csv")
"""


@pytest.mark.parametrize("at", [CLOSED - HOUR, CLOSED + HOUR])
def test_what_it_tries_on_paper_is_stopped_as_well(desk: Path, at: int) -> None:
    Path("opens.py").write_text(OPENS % at)
    with on_paper(desk / "paper") as provider, pytest.raises(StrategyError, match="PermissionError") as told:
        submit("opens.py", provider, mode="paper", isolate=True)
    assert told.value.bar_ts == at
