"""Where ArcticDB is installed: in an environment of its own, which the benchmarks make when they begin.

It is a peer, and no dependency of ours. Where it cannot be installed, its column says so.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

_PATIENCE_S = 600


def environment() -> Path:
    """Where its environment lies, one for each version of Python; removed with other temporary files."""
    name = "qmtl-bench-arcticdb-{}.{}".format(*sys.version_info)
    return Path(tempfile.gettempdir()) / name


def is_installed() -> bool:
    return _marker().is_file()


def version() -> str:
    """Of what is installed; "not installed" otherwise."""
    return _marker().read_text(encoding="utf-8").strip() if is_installed() else "not installed"


def install() -> None:
    """Make the environment, unless it is there. Where that fails, pip has said why on stderr."""
    if is_installed():
        return
    venv.create(environment(), with_pip=True, clear=True)
    ask = [python(), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    say = [python(), "-c", "import arcticdb; print(arcticdb.__version__)"]
    try:
        subprocess.run([*ask, "arcticdb"], check=True, stdout=sys.stderr, timeout=_PATIENCE_S)
        said = subprocess.run(say, check=True, stdout=subprocess.PIPE, text=True).stdout
    except subprocess.SubprocessError:
        return
    _marker().write_text(said, encoding="utf-8")


def _marker() -> Path:
    return environment() / "arcticdb.version"


def python() -> str:
    """The interpreter that can import it."""
    return str(environment() / ("Scripts" if sys.platform == "win32" else "bin") / "python")
