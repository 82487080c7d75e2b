"""Somebody who queues jobs with `qmtl backfill --detach`, one after another, and never gives one up."""

from __future__ import annotations

import itertools
import json
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from qmtl.foundation.leases import LeaseKey
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import EMPTY, Coverage
from qmtl.foundation.times import MINUTE, iso
from qmtl.runtime.coordination.shards import shard_span
from qmtl.runtime.io.store.fencing import SHARD_STEPS
from tests.qmtl.served_process import QMTL
from tests.qmtl.stories.fleet.history import HistoryFile, Queued
from tests.qmtl.stories.fleet.recorders import now
from tests.qmtl.stories.fleet.worker_child import FIRST, drawn

# A job is queued when no more than so many are open, so that not all of them wait for the end.
_MOST_OPEN = 2
_PAUSE_S = 0.5
_PATIENCE_S = 60


class Clerk(threading.Thread):
    """Queues ranges drawn by the seed, beside those that the clients of the fleet fetch."""

    def __init__(self, folder: Path, store: str, coordinator: str, seed: int) -> None:
        super().__init__(name="clerk", daemon=True)
        self._url, self._seed = coordinator, seed
        self._file = HistoryFile(folder / "history" / "clerk.jsonl")
        self._settings = folder / "clerk.yml"
        self._settings.write_text(json.dumps({"seamless": {"store": store, "coordinator_url": coordinator}}))
        self._leaving, self._abandoned = threading.Event(), threading.Event()
        self.queued = 0
        self.refusals: list[str] = []

    def run(self) -> None:
        for number in itertools.count():
            while not self._leaving.is_set() and (self.open_jobs() or 0) > _MOST_OPEN:
                self._leaving.wait(_PAUSE_S)
            if self._leaving.is_set():
                return
            series, first, end = drawn(f"{self._seed} clerk", number)
            wanted = Queued(now(), series, FIRST + first * MINUTE, FIRST + end * MINUTE)
            self._file.write(wanted)
            while not self._is_queued(wanted):
                if self._abandoned.wait(_PAUSE_S):
                    return
            self.queued += 1

    def _is_queued(self, wanted: Queued) -> bool:
        words = ("backfill", wanted.series, iso(wanted.start), iso(wanted.end), "--detach")
        try:
            ended = subprocess.run(
                [QMTL, "--config", self._settings, *words],
                capture_output=True,
                text=True,
                timeout=_PATIENCE_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            self.refusals.append(f"no answer within {_PATIENCE_S} s")
            return False
        if ended.returncode:
            self.refusals.append(f"exit code {ended.returncode}: {ended.stderr}")
        return ended.returncode == 0

    def leave(self) -> None:
        """Queue what was begun, and nothing more."""
        self._leaving.set()

    def abandon(self) -> None:
        """Do not even queue what was begun."""
        self._leaving.set()
        self._abandoned.set()
        self.join(_PATIENCE_S)

    @property
    def has_ended(self) -> bool:
        return not self.is_alive()

    def open_jobs(self) -> int | None:
        """How many are open; None if nobody says so."""
        found = self._asked("/v1/jobs")
        return None if found is None else sum(job["ended"] is None for job in found["jobs"])

    def violated(self) -> Mapping[str, Coverage]:
        """Of each series, the shards that jobs list as violations."""
        found: dict[str, Coverage] = {}
        for job in (self._asked("/v1/jobs") or {"jobs": []})["jobs"]:
            of_job = self._asked(f"/v1/jobs/{job['job']}") if job["violations"] else None
            for violation in [] if of_job is None else of_job["violated"]:
                key = LeaseKey.parse(violation["lease_key"])
                width = SHARD_STEPS * SeriesId.parse(key.series).timeframe.step
                cells = Coverage.of(shard_span(key.shard, width))
                found[key.series] = found.get(key.series, EMPTY) | cells
        return found

    def _asked(self, path: str) -> Any:
        try:
            answer = httpx.get(self._url + path, timeout=5)
            return answer.raise_for_status().json()
        except (httpx.HTTPError, ValueError):
            return None
