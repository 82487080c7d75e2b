"""An etcd that is kept running by a thread of this process, and ends with it, however it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

from qmtl.foundation.errors import CoordinatorUnavailableError
from qmtl.foundation.observability.log import coordinator_log
from qmtl.services.coordinator.member import dies_with_parent
from qmtl.services.coordinator.member.restarts import Restarts

# On SIGTERM it hands the lead of the group to another member, which takes a second or two.
_END_S = 10.0
_LEVELS = {"warn": "warning", "error": "error", "dpanic": "error", "panic": "error", "fatal": "error"}
# The log has a time and a level of its own.
_DROPPED = ("level", "ts", "stacktrace")


class EtcdChild:
    """words: the program, and what stands behind it. url: where it is asked, for the error.

    on_given_up: called once, in another thread, when it is not started any more; `failure` says why.
    """

    def __init__(self, words: Sequence[str], *, url: str, on_given_up: Callable[[], None]) -> None:
        self.failure: CoordinatorUnavailableError | None = None
        self._words, self._url, self._on_given_up = words, url, on_given_up
        self._process: subprocess.Popen[str] | None = None
        self._ending = threading.Event()
        self._lock = threading.Lock()
        # The kernel ends the child with the thread that has begun it: so this one waits for its end.
        self._thread = threading.Thread(target=self._run, name="etcd", daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int | None:
        """Of the etcd that runs now."""
        process = self._process
        return None if process is None or process.poll() is not None else process.pid

    def close(self) -> None:
        """End it, and wait for that."""
        with self._lock:
            self._ending.set()
            if self.pid is not None:
                self._process.terminate()  # type: ignore[union-attr]  # it runs
        self._thread.join(_END_S)
        if self._thread.is_alive():
            self._process.kill()  # type: ignore[union-attr]  # what the thread waits for
            self._thread.join()

    def _run(self) -> None:
        restarts = Restarts()
        while True:
            with self._lock:
                if self._ending.is_set():
                    return
                process = self._process = _started(self._words)
            began = time.monotonic()
            last = _passed_on(process.stderr)  # type: ignore[arg-type]  # it is a pipe
            process.stderr.close()  # type: ignore[union-attr]
            code, run_s = process.wait(), time.monotonic() - began
            if self._ending.is_set():
                return
            pause_s = restarts.pause_after(run_s)
            why = last or f"it ended with {code}, and has not said why"
            coordinator_log.warning("member.ended", exit_code=code, run_s=round(run_s, 1), why=why)
            if pause_s is None:
                break
            self._ending.wait(pause_s)
        self.failure = CoordinatorUnavailableError(
            f"the etcd of this member does not keep running: it ended {restarts.short_runs} times in a row",
            url=self._url,
            why=why,
            next_step="with 'qmtl -v serve coordinator ...' all that it says is shown",
        )
        self._on_given_up()


def _started(words: Sequence[str]) -> subprocess.Popen[str]:
    become = [sys.executable, "-I", "-S", str(Path(dies_with_parent.__file__)), str(os.getpid())]
    return subprocess.Popen(
        [*become, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        # So that Ctrl-C reaches the coordinator alone, which then ends it.
        start_new_session=True,
    )


def _passed_on(lines: IO[str]) -> str:
    """Write to the log what etcd says, until it says nothing more; its last complaint."""
    complaint = ""
    for line in lines:
        level, said, facts = _read(line.strip())
        getattr(coordinator_log, level)("etcd.said", said=said, **({"facts": facts} if facts else {}))
        if level == "error":
            complaint = f"{said}: {facts['error']}" if "error" in facts else said
        elif not facts and not complaint:
            complaint = said  # no logger has written it: a panic, or options that it does not know
    return complaint


def _read(line: str) -> tuple[str, str, dict[str, Any]]:
    """The level, the sentence and the facts of a line of its log."""
    try:
        facts = json.loads(line)
        level = _LEVELS.get(facts["level"], "info")
        said = str(facts.pop("msg"))
    except (ValueError, TypeError, KeyError, AttributeError):
        return "warning", line, {}
    return level, said, {name: value for name, value in facts.items() if name not in _DROPPED}
