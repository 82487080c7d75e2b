"""A folder as the place of a snapshot: each file appears whole and durable, or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from os import PathLike
from pathlib import Path

from qmtl.foundation.durable import make_durable
from qmtl.foundation.errors import InvalidRequestError, StoreError
from qmtl.foundation.local_paths import folder_path
from qmtl.runtime.io.snapshots.place import Entry

# What is being written; whoever is killed leaves it behind, and `gc` removes it.
UNFINISHED = ".unfinished-"


class FolderPlace:
    """A folder, made when something is first written to it."""

    def __init__(self, folder: str | PathLike[str]) -> None:
        self._folder = folder_path(folder, "a snapshot").expanduser()
        if self._folder.exists() and not self._folder.is_dir():
            raise InvalidRequestError(
                f"{self._folder} is a file, and a snapshot is a folder", next_step="name a folder"
            )

    @property
    def location(self) -> str:
        return str(self._folder)

    def path(self, name: str) -> Path:
        """Where a file lies."""
        return self._folder / name

    def get(self, name: str) -> bytes | None:
        with self._naming("read", name):
            try:
                return self.path(name).read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None

    def put(self, name: str, data: bytes) -> None:
        self._write(name, data, os.replace)

    def create(self, name: str, data: bytes) -> bool:
        is_taken = False

        def link(beside: Path, target: Path) -> None:
            nonlocal is_taken
            try:
                # Refused where the name is taken, whoever else is writing; a rename would replace it.
                os.link(beside, target)
            except FileExistsError:
                is_taken = True

        self._write(name, data, link)
        return not is_taken

    def size(self, name: str) -> int | None:
        with self._naming("read", name):
            try:
                return self.path(name).stat().st_size
            except (FileNotFoundError, NotADirectoryError):
                return None

    def entries(self, prefix: str) -> list[Entry]:
        folder, _, begin = prefix.rpartition("/")
        found = []
        with self._naming("read", prefix):
            try:
                for entry in os.scandir(self._folder / folder):
                    if entry.name.startswith(begin) and entry.is_file():
                        facts = entry.stat()
                        name = f"{folder}/{entry.name}" if folder else entry.name
                        found.append(Entry(name, facts.st_size, facts.st_mtime_ns))
            except FileNotFoundError:
                return []
        return sorted(found)

    def remove(self, name: str) -> None:
        with self._naming("removed", name):
            self.path(name).unlink(missing_ok=True)

    def _write(self, name: str, data: bytes, place: Callable[[Path, Path], None]) -> None:
        """Write beside the name, make it durable, and only then let it have the name."""
        target = self.path(name)
        beside = target.with_name(f"{UNFINISHED}{secrets.token_hex(8)}")
        with self._naming("written", name):
            _make(target.parent)
            try:
                with beside.open("xb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                place(beside, target)
            finally:
                # Once renamed it is gone.
                with suppress(FileNotFoundError):
                    beside.unlink()
            make_durable(target.parent)

    @contextmanager
    def _naming(self, what: str, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as failure:
            raise StoreError(
                f"{name or 'the folder'} of the snapshot cannot be {what}",
                path=self.location,
                why=str(failure),
                next_step="look into the disk, its free space and the rights of the folder",
            ) from failure


def _make(folder: Path) -> None:
    """Make a folder that outlives a loss of power, with those above it."""
    if folder.is_dir():
        return
    _make(folder.parent)
    folder.mkdir(exist_ok=True)
    make_durable(folder.parent)
