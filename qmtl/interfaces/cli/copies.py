"""`qmtl store backup`, `restore` and `copy`: whole copies of a store, read through before they count."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qmtl.foundation.words import counted
from qmtl.interfaces.cli.arguments import as_path
from qmtl.interfaces.cli.session import JsonToo, Session, session_of
from qmtl.interfaces.cli.store import size

if TYPE_CHECKING:
    from qmtl.runtime.io.sql.copying import StoreCopy
    from qmtl.runtime.io.sql.sqlite.backup import Copied


def backup(
    ctx: typer.Context,
    dest: Annotated[
        Path, typer.Argument(parser=as_path, metavar="DEST", help="A new folder, or an empty one.")
    ],
    json: JsonToo = False,
) -> None:
    """Copy the store to DEST while others use it.

    The copy is of one point in time, and is read through. On any error DEST is no store.
    """
    from qmtl.interfaces.cli.progress import Bars
    from qmtl.runtime.io.sql.sqlite import backup as backups
    from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
    from qmtl.runtime.sdk.store_copy import copy_store

    session = session_of(ctx)
    place = session.settings().seamless.store
    if not isinstance(place, Path):
        with Bars() as bars:
            made = copy_store(place, dest, progress=bars.advance)
        _show_copy(session, made)
        return
    with session.open_store(read_only=True) as store, Bars() as bars:
        assert isinstance(store, EmbeddedStore)
        copied = backups.backup(store, dest, progress=lambda done, total: bars.advance("pages", done, total))
    _show(session, copied, "copied to")


def restore(
    ctx: typer.Context,
    source: Annotated[
        Path, typer.Argument(parser=as_path, metavar="SOURCE", help="A folder that `backup` has made.")
    ],
    replace: Annotated[
        bool, typer.Option("--replace", help="Let the store that is there go, for good.")
    ] = False,
    json: JsonToo = False,
) -> None:
    """Put a copy of SOURCE where the store is.

    Refused while anybody has the store open. The copy is read through before anything is replaced.
    """
    from qmtl.interfaces.cli.progress import Bars
    from qmtl.runtime.io.sql.sqlite import backup as backups
    from qmtl.runtime.sdk.store_copy import restore_store

    session = session_of(ctx)
    place = session.settings().seamless.store
    if not isinstance(place, Path):
        with Bars() as bars:
            made = restore_store(source, place, replace=replace, progress=bars.advance)
        _show_copy(session, made)
        return
    with Bars() as bars:
        copied = backups.restore(
            source,
            place,
            replace=replace,
            progress=lambda done, total: bars.advance("pages", done, total),
        )
    _show(session, copied, "restored to")


def _show(session: Session, copied: Copied, what: str) -> None:
    from qmtl.foundation.times import iso

    found = copied.verification
    newest = f", the newest of {iso(copied.as_of)}" if copied.last_tx else ""
    session.show(
        f"{copied.source} {what} {copied.target}: {size(copied.bytes)}, "
        f"{counted(copied.last_tx, 'commit')}{newest}",
        f"{counted(found.chunks, 'chunk')} and {counted(found.hot_rows, 'single row')} were read back",
    )
    if found.lost:
        session.show(
            f"{counted(len(found.lost), 'range')} of it had been lost to damage before; "
            "'qmtl store verify' names them"
        )
    session.emit(_json(copied))


def _json(copied: Copied) -> dict[str, Any]:
    from qmtl.foundation.times import iso

    return {
        "source": copied.source,
        "target": copied.target,
        "last_tx": copied.last_tx,
        "as_of": copied.as_of,
        "as_of_iso": iso(copied.as_of) if copied.last_tx else None,
        "bytes": copied.bytes,
        "chunks": copied.verification.chunks,
        "hot_rows": copied.verification.hot_rows,
        "lost": len(copied.verification.lost),
    }


def copy(
    ctx: typer.Context,
    source: Annotated[str, typer.Argument(metavar="FROM", help="The folder or the address of a store.")],
    target: Annotated[
        str, typer.Argument(metavar="TO", help="A new folder, or an address whose schema is new.")
    ],
    json: JsonToo = False,
) -> None:
    """Copy a store, with all its history, to another place.

    From and to folders, PostgreSQL and QuestDB. Others may use FROM meanwhile. TO is no store before the copy
    is complete, and was compared with FROM at each pin and at the newest commit. One that was interrupted
    goes on when it is repeated.
    """
    from qmtl.interfaces.cli.progress import Bars
    from qmtl.runtime.sdk.store_copy import copy_store

    session = session_of(ctx)
    with Bars() as bars:
        copied = copy_store(source, target, progress=bars.advance)
    _show_copy(session, copied)


def _show_copy(session: Session, copied: StoreCopy) -> None:
    from qmtl.foundation.times import iso

    newest = f", the newest of {iso(copied.as_of)}" if copied.last_tx else ""
    pins = f", and at {counted(len(copied.pins), 'pin')}" if copied.pins else ""
    session.show(
        f"{copied.source} copied to {copied.target}: {copied.series:,} series, "
        f"{counted(copied.rows, 'row')}, {counted(copied.last_tx, 'commit')}{newest}",
        f"{counted(copied.chunks, 'chunk')} of {size(copied.bytes)} were read back; "
        f"bars, answers and facts were compared at the newest commit{pins}",
    )
    if copied.resumed:
        session.show(f"{counted(copied.resumed, 'chunk')} had been copied by an earlier attempt")
    times = {"as_of_iso": iso(copied.as_of) if copied.last_tx else None}
    session.emit({**asdict(copied), **times, "pins": list(copied.pins)})
