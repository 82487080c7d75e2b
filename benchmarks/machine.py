"""What the figures were measured on: enough to judge them, nothing that names the machine."""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

_GIB = 1024**3


def facts() -> dict[str, str]:
    """Names and values, as a reader wants them."""
    import psutil

    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "cores": f"{os.cpu_count()} ({_processor()})",
        "memory": f"{psutil.virtual_memory().total / _GIB:.0f} GiB",
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "file system": _file_system(Path(tempfile.gettempdir())),
        "Python": platform.python_version(),
        **{name: version(name) for name in ("polars", "numpy", "pcodec", "duckdb", "pyarrow")},
    }


def load() -> float:
    """Processes that wanted to run in the last minute, on average."""
    import psutil

    return float(psutil.getloadavg()[0])


def is_too_busy(loads: Sequence[float]) -> bool:
    """Whether others were at work too. The benchmarks themselves make a load of about one."""
    return max(loads) > max(1.5, 0.75 * (os.cpu_count() or 1))


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def _file_system(folder: Path) -> str:
    import psutil

    parts = [part for part in psutil.disk_partitions(all=True) if folder.is_relative_to(part.mountpoint)]
    return max(parts, key=lambda part: len(part.mountpoint)).fstype if parts else "not known"
