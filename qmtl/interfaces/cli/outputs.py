"""Which files no output may replace: those of a store, and those that the command itself reads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from qmtl.foundation.errors import InvalidRequestError

if TYPE_CHECKING:
    from qmtl.interfaces.cli.session import Session

# https://www.sqlite.org/fileformat.html#magic_header_string
_DATABASE = b"SQLite format 3\0"
# What a store or a registry keeps in its folder, with the logs of its database.
_KEPT = re.compile(r"(bars|registry)\.(sqlite(-wal|-shm|-journal)?|lock)")


def check_no_store(path: Path) -> None:
    """Raise `InvalidRequestError` if `path` names a file of a store, or what is no file at all."""
    why = _kept(path.resolve())
    if why is not None:
        raise _refused(path, why)


def check_unread(path: Path, session: Session, series: str) -> None:
    """Raise `InvalidRequestError` if a command on this series reads `path` as settings, or as bars."""
    for read, what in _read_by(session, series):
        if read.expanduser().resolve() == path.resolve():
            raise _refused(path, what)


def check_apart(files: dict[str, Path | None]) -> None:
    """Raise `InvalidRequestError` if two options of a command name the same file."""
    seen: dict[Path, str] = {}
    for option, path in files.items():
        if path is None:
            continue
        first = seen.setdefault(path.resolve(), option)
        if first != option:
            raise InvalidRequestError(
                f"{first} and {option} name the same file, {path}", next_step="give each a file of its own"
            )


def _refused(path: Path, why: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"{path} is not replaced", why=why, next_step="name another file for the output"
    )


def _kept(path: Path) -> str | None:
    """Why the file must stay; None if it need not."""
    if _KEPT.fullmatch(path.name):
        return "a store keeps a file of this name"
    if path.parent.name == "claims" and (path.parent.parent / "bars.sqlite").exists():
        return "its folder is one of a store"
    if not path.exists():
        return None
    if not path.is_file():
        return "it is no regular file"
    with path.open("rb") as file:
        return "it is a database" if file.read(len(_DATABASE)) == _DATABASE else None


def _read_by(session: Session, series: str) -> Iterator[tuple[Path, str]]:
    from qmtl.foundation.series import SeriesId
    from qmtl.foundation.settings import DEFAULT_FILE, FilesSettings

    yield session.config or Path(DEFAULT_FILE), "the settings are read from it"
    for entry in session.settings().seamless.vendors:
        if isinstance(entry, FilesSettings):
            from qmtl.runtime.io.vendors.files import FilesVendor

            try:
                vendor = FilesVendor(entry.path)
            except InvalidRequestError:  # told by whatever uses it; until then it reads no file
                continue
            yield vendor.path_of(SeriesId.parse(series)), "a vendor reads bars from it"
