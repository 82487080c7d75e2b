"""A process that writes a bar whenever it is asked to, so that a reader sees the commits of somebody else.

python -m benchmarks.writer FOLDER

Reads names of series, a line each, appends to each a bar behind all it has appended before, durable, and
answers with a line of its own.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import scene
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import MINUTE, to_ns
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.testing.bars import synthetic_bars

# Behind every year that cases store.
_START = to_ns("2025-01-01")


@contextmanager
def writing(folder: Path) -> Iterator[Callable[[SeriesId], None]]:
    """A function that lets another process append a bar to a series, and returns when that is durable."""
    command = [sys.executable, "-m", "benchmarks.writer", str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        asked, done = process.stdin, process.stdout

        def append(series: SeriesId) -> None:
            asked.write(f"{series.text}\n")
            asked.flush()
            if not done.readline():
                raise RuntimeError("the process that writes has ended; its output stands above")

        yield append
        asked.close()


def main(folder: str) -> None:
    start = _START
    with EmbeddedStore(folder) as store:
        for line in sys.stdin:
            series = SeriesId.parse(line.strip())
            store.commit(series, scene.write_of(synthetic_bars(series, Span(start, start + MINUTE))))
            start += MINUTE
            print("written", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
