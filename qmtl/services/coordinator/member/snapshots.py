"""What a group of etcd has stored, as one file; and the data of a new member from it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from base64 import b64decode
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory
from typing import IO

from qmtl.foundation.durable import make_durable
from qmtl.foundation.errors import CoordinatorUnavailableError, InvalidRequestError
from qmtl.services.coordinator.member.gateway import opened
from qmtl.services.coordinator.member.plan import Member, restore_words

# The file ends with the hash of all that stands before.
_HASH = hashlib.sha256().digest_size


def take(url: str, target: Path) -> int:
    """Write a snapshot of what the member at `url` has to a new file; its bytes.

    On any error there is no such file. Raises `InvalidRequestError` where there is one already, and
    `CoordinatorUnavailableError` where not all of it came.
    """
    if not target.parent.is_dir():
        raise InvalidRequestError(f"there is no folder {target.parent}", next_step="make it, or name another")
    if target.exists():
        raise InvalidRequestError(f"{target} is there already", next_step="name a file that is not")
    with NamedTemporaryFile(dir=target.parent, prefix=f"{target.name}.", suffix=".part") as part:
        size = _written(url, part)
        try:
            os.link(part.name, target)
        except FileExistsError as error:
            raise InvalidRequestError(f"{target} has come to be meanwhile") from error
    make_durable(target.parent)
    return size


def restore(program: Path, snapshot: Path, plan: Member) -> None:
    """Make the data of a member from a snapshot, in a folder that is not there yet: all of it, or nothing."""
    if not snapshot.is_file():
        raise InvalidRequestError(
            f"there is no file {snapshot}", next_step="name one that 'snapshot' has written"
        )
    if plan.folder.exists():
        raise InvalidRequestError(
            f"{plan.folder} is there already",
            why="a restored member begins with nothing but the snapshot",
            next_step="move it away, or name another --data-dir",
        )
    with snapshot.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    plan.folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=plan.folder.parent, prefix=f"{plan.folder.name}.") as beside:
        part = plan._replace(folder=Path(beside) / "data")
        done = subprocess.run(
            [program, *restore_words(part, snapshot, digest)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise InvalidRequestError(
                f"{snapshot} cannot be restored",
                why=_last_line(done.stderr or done.stdout),
                next_step="restore another snapshot; or begin the group anew, and queue jobs again",
            )
        part.folder.rename(plan.folder)
    make_durable(plan.folder.parent)


def _written(url: str, file: IO[bytes]) -> int:
    """Raises `CoordinatorUnavailableError` where its hash is not that of what came."""
    running, held_back, size = hashlib.sha256(), b"", 0
    for piece in _pieces(url):
        file.write(piece)
        size += len(piece)
        held_back += piece
        running.update(held_back[:-_HASH])
        held_back = held_back[-_HASH:]
    if running.digest() != held_back:
        raise CoordinatorUnavailableError(
            "the snapshot is not whole",
            url=url,
            why=f"{size:,} bytes came, and the hash at their end is not theirs",
            next_step="take it again",
        )
    file.flush()
    os.fsync(file.fileno())
    return size


def _pieces(url: str) -> Iterator[bytes]:
    """They come as JSON, one object a line."""
    with opened(url, "maintenance/snapshot", {}, next_step="take it from another member") as response:
        try:
            for line in response:
                answer = json.loads(line)
                if "error" in answer:
                    raise ValueError(answer["error"].get("message", "it was broken off"))
                yield b64decode(answer["result"].get("blob", ""))
        except (ValueError, KeyError, OSError, HTTPException) as error:
            raise CoordinatorUnavailableError(
                f"etcd at {url} has not sent the whole snapshot",
                url=url,
                why=str(error),
                next_step="take it again",
            ) from error


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it has not said why"])[-1][:500]
