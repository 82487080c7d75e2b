"""Results of slow computations, kept in the user's cache folder and checked whenever they are read."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote
from zoneinfo import TZPATH

import blake3

_DIGEST = 32


class Compiled:
    """One file per name in `folder`, for one `key`: the versions of all that a result depends on.

    A file that is missing, damaged, or of another key is no file. A folder that cannot be read or written
    keeps nothing, and everything works without it: it is a cache. Processes may write at the same time; each
    file takes its place whole.
    """

    def __init__(self, folder: Path, key: Mapping[str, str]) -> None:
        self._folder = folder
        text = "\n".join(f"{name}={value}" for name, value in sorted(key.items()))
        self._key = blake3.blake3(text.encode()).hexdigest()[:16]

    def path(self, name: str) -> Path:
        """Where the result of this name is kept; whatever the name is, never outside of the folder."""
        return self._folder / f"{quote(name, safe='')}-{self._key}.bin"

    def read(self, name: str) -> bytes | None:
        """What was stored under this name, if its checksum matches."""
        try:
            whole = self.path(name).read_bytes()
        except OSError:  # not there, or not to be read: it is computed then
            return None
        body = whole[_DIGEST:]
        return body if self._digest(name, body) == whole[:_DIGEST] else None

    def write(self, name: str, body: bytes) -> None:
        """Keep `body` for later processes, if the folder can be written."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            handle, part = tempfile.mkstemp(prefix=".", suffix=".part", dir=self._folder)
        except OSError:  # a read-only home: `qmtl doctor` says so, and it costs time only
            return
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(self._digest(name, body) + body)
            os.replace(part, self.path(name))
        except OSError:  # a full disk, above all; the same holds
            Path(part).unlink(missing_ok=True)

    def _digest(self, name: str, body: bytes) -> bytes:
        # The name is part of it: on some file systems XNYS and xnys are one file.
        return blake3.blake3(f"{self._key}\n{name}\n".encode() + body).digest()


def cache_folder() -> Path:
    """Where the operating system keeps what can be made anew; XDG_CACHE_HOME moves it on Linux."""
    from platformdirs import user_cache_path

    return user_cache_path("qmtl", appauthor=False)


def zone_digest(zone: str) -> str:
    """A digest of the rules of a time zone, as `zoneinfo` finds them: the system's file, else `tzdata`'s.

    Empty where neither has the zone. The version of the package `tzdata` alone would not show it: most
    systems have rules of their own, which go first.
    """
    for folder in TZPATH:
        path = Path(folder, zone)
        if path.is_file():
            return blake3.blake3(path.read_bytes()).hexdigest()
    try:
        data = files("tzdata").joinpath("zoneinfo", *zone.split("/")).read_bytes()
    except (OSError, ModuleNotFoundError):
        return ""
    return blake3.blake3(data).hexdigest()
