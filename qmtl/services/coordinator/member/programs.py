"""The programs of etcd on this machine, and whether they are of a version that is taken."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from qmtl.foundation.errors import InvalidRequestError

_VERSIONS = ((3, 6), (3, 7))
_INSTALL = (
    "take {name} 3.6 or 3.7 from https://github.com/etcd-io/etcd/releases, and put it into PATH, or name it "
    "with {option}; Debian's own package is too old"
)


def etcd_program(named: Path | None) -> Path:
    """Raises `InvalidRequestError` where there is none, or of another version than 3.6 or 3.7."""
    if not sys.platform.startswith("linux"):
        raise InvalidRequestError(
            "--member needs Linux",
            why="elsewhere its etcd would be left behind when the coordinator is killed",
            next_step="run etcd beside it, and name it with --etcd URL",
        )
    return _fit("etcd", "--etcd-program", named, "--version", r"etcd Version: (\S+)")


def etcdutl_program(named: Path | None) -> Path:
    """As `etcd_program`, for the tool of etcd that restores snapshots."""
    return _fit("etcdutl", "--etcdutl-program", named, "version", r"etcdutl version: (\S+)")


def _fit(name: str, option: str, named: Path | None, ask: str, answer: str) -> Path:
    found = shutil.which(name) if named is None else shutil.which(named)
    install = _INSTALL.format(name=name, option=option)
    if found is None:
        where = f"no {name} in PATH" if named is None else f"{named} is no program"
        raise InvalidRequestError(f"{name} is not there", why=where, next_step=install)
    try:
        told = subprocess.run([found, ask], capture_output=True, text=True, timeout=30, check=False).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InvalidRequestError(f"{found} cannot be run", why=str(error), next_step=install) from error
    version = re.search(answer, told)
    numbers = re.match(r"(\d+)\.(\d+)", version[1]) if version else None
    if version is None or numbers is None:
        raise InvalidRequestError(
            f"{found} does not tell its version, as {name} does",
            why=told[:200] or "it says nothing",
            next_step=install,
        )
    if (int(numbers[1]), int(numbers[2])) not in _VERSIONS:
        raise InvalidRequestError(
            f"{found} has version {version[1]}", why="3.6 and 3.7 are tested", next_step=install
        )
    return Path(found).absolute()
