"""A whole copy of a store, made while others write to it, read through before it counts as one."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from qmtl.foundation.clock import SystemClock
from qmtl.foundation.durable import make_durable
from qmtl.foundation.errors import InvalidRequestError, StoreCorruptError, StoreError
from qmtl.foundation.words import counted
from qmtl.runtime.io.sql.lost_tail import note_lost_tail
from qmtl.runtime.io.sql.sqlite.directory import StoreDirectory
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.io.sql.sqlite.layout import DATABASE, FORMAT, LOCK
from qmtl.runtime.io.sql.sqlite.locks import UseLock
from qmtl.runtime.io.sql.verify import Progress, Verification

# A copy is made in a folder of this name beside its final place: what lies there is no store yet.
UNFINISHED = "unfinished-copy"
# Pages copied at a time; between two steps others may write.
_PAGES_AT_ONCE = 4_096
# What SQLite and the lock want beside a file that is opened.
_BESIDE = 256 * 1024


@dataclass(frozen=True)
class Copied:
    """What was copied. last_tx, as_of (ns): number and time of its newest commit, 0 if none."""

    source: str
    target: str
    last_tx: int
    as_of: int
    bytes: int
    verification: Verification


def backup(store: EmbeddedStore, target: Path, *, progress: Progress | None = None) -> Copied:
    """Copy `store` as of one commit into the folder `target`, which must be new or empty.

    Others may read and write the store meanwhile. The copy is read through before it takes its place: on any
    error, and after a kill, `target` is no store. It goes on with the commit numbers of the original, so that
    an `as_of` reads the same from both. `progress(done, total)` counts pages.

    Raises `InvalidRequestError` for a target that is the store itself, lies within it, or holds anything;
    `StoreCorruptError` if the store is damaged; `StoreError`, with the bytes needed, if there is no room.
    """
    target = Path(os.path.abspath(target.expanduser()))
    refuse_itself(store.path, target, "the backup")
    made = made_empty(target)
    try:
        with _copied(store, target, progress) as (unfinished, copied):
            # Lock first: without the database beside it, it says that something is missing.
            for name in (LOCK, DATABASE):
                os.replace(unfinished / name, target / name)
            for folder in (target, target.parent):
                make_durable(folder)
    except BaseException:
        for name in (DATABASE, LOCK):
            (target / name).unlink(missing_ok=True)
        _take_away(target, made)
        raise
    return copied


def restore(source: Path, target: Path, *, replace: bool = False, progress: Progress | None = None) -> Copied:
    """Put a copy of the store in the folder `source` in the place of the one at `target`.

    replace: whether a store that is there already may go; it is gone for good then. What was committed after
    the copy was made is lost: an `as_of` between its newest commit and now is refused from then on.

    The copy is read through before anything is replaced. Raises `StoreLockedError` if anybody has the store
    at `target` open, and otherwise as `backup` does.
    """
    source = Path(os.path.abspath(source.expanduser()))
    target = Path(os.path.abspath(target.expanduser()))
    refuse_itself(source, target, "the store to restore")
    if not (source / DATABASE).exists():
        raise InvalidRequestError(
            f"{source} holds no store", next_step="name a folder that `qmtl store backup` has made"
        )
    made = _folder_for(target, replace=replace)
    in_use = UseLock(target, alone=True, timeout_s=0.0)
    try:
        shutil.rmtree(target / UNFINISHED, ignore_errors=True)  # of a restore that was killed
        with (
            EmbeddedStore(source, read_only=True) as store,
            _copied(store, target, progress) as (unfinished, copied),
        ):
            if store._database.format() == FORMAT:
                _note_lost_tail(unfinished)
            _put_in_place(unfinished, target)
    except BaseException:
        _take_away(target, made)
        raise
    finally:
        in_use.close()
    return copied


def _note_lost_tail(folder: Path) -> None:
    """Say in a copy that commits may be missing behind its newest one."""
    with (
        closing(StoreDirectory(folder, read_only=False, lock_timeout_s=0.0)) as store,
        store.writing() as connection,
    ):
        store.commit(connection, note_lost_tail(connection, SystemClock().now()))


def _put_in_place(unfinished: Path, target: Path) -> None:
    """Replace a store file by file; killed in between, it says that it is incomplete, and mixes nothing."""
    # Read by all who open the store: from here on, only the new file satisfies it, or a newer one.
    os.replace(unfinished / LOCK, target / LOCK)
    make_durable(target)
    (target / DATABASE).unlink(missing_ok=True)
    for suffix in ("-wal", "-shm", "-journal"):
        # A log that stayed would be taken for that of the new file.
        (target / (DATABASE + suffix)).unlink(missing_ok=True)
    make_durable(target)
    os.replace(unfinished / DATABASE, target / DATABASE)
    make_durable(target)


@contextmanager
def _copied(store: EmbeddedStore, beside: Path, progress: Progress | None) -> Iterator[tuple[Path, Copied]]:
    """A whole and verified copy, in a folder that goes with the block."""
    unfinished = beside / UNFINISHED
    unfinished.mkdir()
    try:
        _copy_pages(store, unfinished / DATABASE, progress)
        (unfinished / LOCK).touch()
        # Of an older format it is what the store was before it is migrated: the way back.
        with EmbeddedStore(unfinished, read_only=True) as copy:
            found = copy.verify()
            _refuse_damage(store, found)
            info = copy.info()
            copy.note_newest()
        for file in unfinished.iterdir():
            make_durable(file)
        yield (
            unfinished,
            Copied(
                str(store.path),
                str(beside),
                info.last_tx,
                info.last_commit_at,
                (unfinished / DATABASE).stat().st_size,
                found,
            ),
        )
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _copy_pages(store: EmbeddedStore, file: Path, progress: Progress | None) -> None:
    """SQLite's online backup, of the state at its beginning."""

    def tell(status: int, remaining: int, total: int) -> None:
        if progress is not None:
            progress(total - remaining, total)

    with store.reading_all() as source:
        needed = source.execute("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")
        size = int(needed.fetchone()[0]) + _BESIDE
        if shutil.disk_usage(file.parent).free < size:
            raise _no_room(file, size)
        with closing(sqlite3.connect(file, isolation_level=None)) as target:
            try:
                source.backup(target, pages=_PAGES_AT_ONCE, progress=tell, sleep=0.0)
            except sqlite3.OperationalError as failure:
                if failure.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
                    raise
                raise _no_room(file, size, f"SQLite says: {failure}; ") from failure


def _no_room(file: Path, size: int, cause: str = "") -> StoreError:
    free = shutil.disk_usage(file.parent).free
    return StoreError(
        f"the copy {file} cannot be written",
        path=file.parent.parent,
        why=f"{cause}it needs {size:,} bytes, and {free:,} bytes are free there",
        next_step="free some space, or copy to another disk; nothing of the copy was kept",
    )


def _refuse_damage(store: EmbeddedStore, found: Verification) -> None:
    if found.is_readable:
        return
    counts = {"damaged part": len(found.damage), "problem": len(found.problems)}
    found_there = " and ".join(counted(count, what) for what, count in counts.items() if count)
    raise StoreCorruptError(
        f"the copy has {found_there}",
        path=store.path,
        why="a copy of a damaged store would pass for a whole one",
        next_step="see what `qmtl store verify` says of the store; once repaired (`--repair`) it is copied",
    )


def refuse_itself(store: Path, target: Path, what: str) -> None:
    """Raise `InvalidRequestError` if both are one folder, by whatever name, or one lies within the other."""
    ours, theirs = store.resolve(), target.resolve()
    if ours == theirs or (store.exists() and target.exists() and os.path.samefile(store, target)):
        raise InvalidRequestError(
            f"{what} and the store are the same folder, {ours}", next_step="name another folder"
        )
    if ours in theirs.parents or theirs in ours.parents:
        raise InvalidRequestError(
            f"{what} and the store lie within one another",
            why=f"{theirs} and {ours}",
            next_step="name a folder of its own",
        )


def made_empty(folder: Path, *, but_for: Collection[str] = ()) -> bool:
    """Make the folder; whether it was missing. Raises `InvalidRequestError` if it holds anything else."""
    if not _made(folder):
        if present := sorted({entry.name for entry in folder.iterdir()} - set(but_for)):
            raise InvalidRequestError(
                f"{folder} is not empty",
                why=f"it holds {counted(len(present), 'thing')}, such as {', '.join(present[:3])}",
                next_step="name a new folder, or an empty one",
            )
        return False
    return True


def _folder_for(folder: Path, *, replace: bool) -> bool:
    """Make the folder of a store; whether it was missing."""
    if _made(folder):
        return True
    present = {entry.name for entry in folder.iterdir()}
    if present - {UNFINISHED} and not present & {LOCK, DATABASE}:
        raise InvalidRequestError(
            f"{folder} holds other things, and no store", next_step="name the folder of a store, or a new one"
        )
    if DATABASE in present and not replace:
        raise InvalidRequestError(
            f"there is a store at {folder} already",
            why="what it holds would be gone for good",
            next_step="give `replace=True` to put the copy in its place, or name another folder",
        )
    return False


def _made(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        if folder.is_dir():
            return False
        raise InvalidRequestError(f"{folder} is a file, not a folder", next_step="name a folder") from None
    except OSError as failure:
        raise StoreError(
            "the folder cannot be made", path=folder, why=str(failure), next_step="name another folder"
        ) from failure
    return True


def _take_away(folder: Path, made: bool) -> None:
    if made:
        # What others have put there since is theirs.
        with suppress(OSError):
            folder.rmdir()
