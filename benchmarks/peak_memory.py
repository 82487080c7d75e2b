"""A process that backfills a year once, and prints by how much its memory peaked.

python -m benchmarks.peak_memory ROWS FOLDER

Prints two numbers of bytes: the peak of resident memory over what was resident before the fetch (interpreter,
libraries, the vendor's own bars), and the size of the frame that was answered. Prints nothing where the
system has no resettable peak.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import polars as pl

from benchmarks import scene
from qmtl.runtime.sdk.provider import SeamlessDataProvider

_STATUS = Path("/proc/self/status")
_FORGET = Path("/proc/self/clear_refs")


def main(rows: int, folder: Path) -> None:
    """Make the bars in another process, so that no freed memory of theirs hides what the fetch needs."""
    if not (_STATUS.exists() and _FORGET.exists()):
        return
    folder.mkdir(parents=True, exist_ok=True)
    bars = folder / "bars.arrow"
    subprocess.run([sys.executable, "-m", "benchmarks.peak_memory", str(rows), str(bars), "make"], check=True)
    with bars.open("rb") as file:  # through a handle it is read, not mapped
        frame = pl.read_ipc(file)
    frame.select(pl.all().to_physical().max())  # every page of it is resident from now on
    # A small fetch first: what it loads for the first time is not what a year needs.
    _fetch(folder / "small", frame.head(5_000))
    _FORGET.write_text("5")
    before = _resident("VmRSS")
    answered = _fetch(folder / "year", frame)
    print(_resident("VmHWM") - before, answered)


def _fetch(folder: Path, frame: pl.DataFrame) -> int:
    """The bytes of the frame that was answered."""
    with SeamlessDataProvider(folder, vendors=scene.MemoryVendor(frame)) as provider:
        answered = provider.fetch(scene.SERIES, *scene.span_of(frame.height)).frame
        if answered.height != frame.height:
            raise AssertionError(f"{answered.height} rows of {frame.height} were answered")
        return int(answered.estimated_size())


def _resident(name: str) -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    if sys.argv[3:] == ["make"]:
        scene.year_of_bars(int(sys.argv[1])).write_ipc(sys.argv[2])
    else:
        main(int(sys.argv[1]), Path(sys.argv[2]))
