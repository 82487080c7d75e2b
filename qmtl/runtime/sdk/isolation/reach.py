"""Which files an isolated strategy can read: Python, what is installed for it, and sources beside it."""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from importlib.machinery import all_suffixes
from pathlib import Path
from typing import NamedTuple

from qmtl.foundation.errors import InvalidRequestError

# What libraries ask a Linux system for; what is not there is passed over.
_OF_THE_SYSTEM = (
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/share/zoneinfo",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/dev/null",
    "/dev/random",
    "/dev/urandom",
    "/dev/zero",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/sys/devices/system/cpu",
)
_PACKAGE = "__init__.py"


class Reach(NamedTuple):
    """Files, and folders with all below them, that can be read; folders whose names alone can be listed."""

    readable: tuple[str, ...]
    listed: tuple[str, ...]

    def check_apart(self, folder: Path) -> None:
        """Raise `InvalidRequestError` if a store lies where a strategy can read."""
        place = Path(os.path.realpath(folder))
        for path in map(os.path.realpath, self.readable):
            if place.is_relative_to(path):
                raise InvalidRequestError(
                    f"the store {folder} lies below {path}, which an isolated strategy has to read",
                    next_step="move the store elsewhere, or leave out `isolate=True`",
                )


def reach_of(strategy: Path) -> Reach:
    """What a strategy of a file can read: nothing that is no part of a program."""
    libraries = _libraries()
    folders = [strategy.resolve().parent]
    # Of other folders on the path of imports only the sources: bars and stores may lie beside them.
    folders += [Path(entry).resolve() for entry in sys.path if os.path.isdir(entry)]
    own = [one for one in dict.fromkeys(folders) if not any(one.is_relative_to(of) for of in libraries)]
    sources = [str(path) for folder in own for path in _sources(folder)]
    return Reach(
        tuple(dict.fromkeys([*_OF_THE_SYSTEM, *map(str, libraries), str(strategy.resolve()), *sources])),
        tuple(map(str, own)),
    )


def _libraries() -> list[Path]:
    """The folders of Python, of installed packages and of this one."""
    paths = sysconfig.get_paths()
    found = [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    found += [*site.getsitepackages(), site.getusersitepackages()]
    found.append(os.path.dirname(sys.modules["qmtl"].__file__ or ""))
    return [Path(path).resolve() for path in dict.fromkeys(found) if os.path.isdir(path)]


def _sources(folder: Path) -> Iterator[Path]:
    """Modules of Python in a folder, and in its packages."""
    yield from _modules(folder, (entry.name for entry in os.scandir(folder) if entry.is_file()))
    for entry in os.scandir(folder):
        if entry.is_dir() and os.path.isfile(os.path.join(entry.path, _PACKAGE)):
            for place, names, files in os.walk(entry.path):
                names[:] = [name for name in names if os.path.isfile(os.path.join(place, name, _PACKAGE))]
                yield from _modules(Path(place), files)


def _modules(folder: Path, names: Iterable[str]) -> Iterator[Path]:
    suffixes = tuple(all_suffixes())
    return (folder / name for name in names if name.endswith(suffixes))
