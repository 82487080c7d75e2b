"""`qmtl store pin`, `unpin`, `pins`: points in time that compaction keeps readable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from qmtl.interfaces.cli.arguments import AsOf
from qmtl.interfaces.cli.session import JsonToo, session_of

if TYPE_CHECKING:
    from qmtl.runtime.io.sql.pins import Pin

Name = Annotated[str, typer.Argument(metavar="NAME", help="What the point in time is called.")]


def pin(ctx: typer.Context, name: Name, as_of: AsOf = None, json: JsonToo = False) -> None:
    """Hold a point in time by name.

    It stays readable whatever the retention lets go.
    """
    from qmtl.foundation.times import iso
    from qmtl.interfaces.cli.session import commit_time

    session = session_of(ctx)
    with session.open_store() as store:
        pinned = store.pin(name, as_of=None if as_of is None else commit_time(as_of, "--as-of"))
    session.show(f"{pinned.name} holds {iso(pinned.as_of)}; read it with --as-of {pinned.as_of}")
    session.emit(_json(pinned))


def unpin(ctx: typer.Context, name: Name, json: JsonToo = False) -> None:
    """Let go of a point in time.

    The next compaction sweeps what it alone kept.
    """
    from qmtl.foundation.times import iso

    session = session_of(ctx)
    with session.open_store() as store:
        pinned = store.unpin(name)
    session.show(f"{pinned.name} holds {iso(pinned.as_of)} no longer")
    session.emit(_json(pinned))


def pins(ctx: typer.Context, json: JsonToo = False) -> None:
    """All pinned points in time."""
    from qmtl.foundation.times import iso
    from qmtl.interfaces.cli.tables import Rows

    session = session_of(ctx)
    with session.open_store(read_only=True) as store:
        pinned = store.pins()
    if pinned:
        rows = ((one.name, iso(one.as_of), str(one.as_of), iso(one.pinned_at)) for one in pinned)
        session.show(Rows(("name", "as of", "--as-of", "pinned"), rows))
    else:
        session.show("nothing is pinned")
    session.emit([_json(one) for one in pinned])


def _json(pinned: Pin) -> dict[str, Any]:
    from qmtl.foundation.times import iso

    return {
        "name": pinned.name,
        "as_of": pinned.as_of,
        "as_of_iso": iso(pinned.as_of),
        "pinned_at": iso(pinned.pinned_at),
    }
