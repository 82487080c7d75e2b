"""ArcticDB at work, in an environment of its own: it alone is imported here, and nothing of ours.

python arctic_worker.py ADDRESS

Reads requests from its input, a JSON object a line with the name of a function below, and answers each with
how many seconds the work took by this process's clock; what is not work is not timed.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import arcticdb
import numpy as np
import pandas as pd

_COLUMNS = ("open", "high", "low", "close", "volume")


class Worker:
    """One library of ArcticDB, frames at hand to be written, and answers that somebody keeps."""

    def __init__(self, address: str) -> None:
        self._library = arcticdb.Arctic(address).get_library("bars", create_if_missing=True)
        self._frames: dict[str, pd.DataFrame] = {}
        self._kept: list[object] = []

    def load(self, path: str, frame: str) -> float:
        """A frame from a raw file: six columns one after the other, first the stamps in ns."""
        raw = np.fromfile(path, np.int64)
        ts, *values = raw.reshape(6, -1)
        index = pd.DatetimeIndex(ts.view("datetime64[ns]"))
        columns = {name: value.view(np.float64) for name, value in zip(_COLUMNS, values, strict=True)}
        self._frames[frame] = pd.DataFrame(columns, index=index)
        return 0.0

    def forget(self, frame: str) -> float:
        del self._frames[frame]
        return 0.0

    def touch(self, size: int) -> float:
        """Get so much memory from the system, and give it back."""
        np.ones(size, np.uint8)
        return 0.0

    def write(self, series: str, frame: str) -> float:
        """A frame in place of all that the series had, durable."""
        rows = self._frames[frame]
        began = time.perf_counter()
        self._library.write(series, rows)
        return time.perf_counter() - began

    def append(self, series: str, frame: str, row: int) -> float:
        """One row of a frame, durable."""
        rows = self._frames[frame].iloc[row : row + 1]
        began = time.perf_counter()
        self._library.append(series, rows)
        return time.perf_counter() - began

    def read(self, series: str, first: int, last: int, keep: bool) -> float:
        """The rows from one instant to another, both included, as a frame."""
        between = (pd.Timestamp(first), pd.Timestamp(last))
        began = time.perf_counter()
        frame = self._library.read(series, date_range=between).data
        return self._done(began, frame, len(frame), keep)

    def read_many(self, series: list[str], first: int, last: int) -> float:
        """The same for several series at once, as a frame for each."""
        between = (pd.Timestamp(first), pd.Timestamp(last))
        began = time.perf_counter()
        requests = [arcticdb.ReadRequest(one, date_range=between) for one in series]
        frames = [item.data for item in self._library.read_batch(requests)]
        return self._done(began, frames, min(map(len, frames)), False)

    def _done(self, began: float, answer: object, rows: int, keep: bool) -> float:
        seconds = time.perf_counter() - began
        if not rows:
            raise RuntimeError("nothing was read")
        if keep:
            self._kept.append(answer)
        return seconds


def main(address: str) -> None:
    worker = Worker(address)
    for line in sys.stdin:
        request: dict[str, Any] = json.loads(line)
        seconds = getattr(worker, request.pop("do"))(**request)
        print(json.dumps(seconds), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
