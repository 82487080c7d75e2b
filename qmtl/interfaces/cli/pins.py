"""`qmtl store pin`, `unpin`, `pins`: points in time that compaction keeps readable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from qmtl.interfaces.cli.arguments import AsOf
from qmtl.interfaces.cli.session import JsonToo, session_of

if TYPE_CHECKING:
    from qmtl.runtime.io.store.pins import Pin

Name = Annotated[str, typer.Argument(metavar="NAME", help="What the point in time is called.")]


def pin(ctx: typer.Context, name: Name, as_of: AsOf = None, json: JsonToo = False) -> None:
    """Hold a point in time by name.

    It stays readable whatever the retention lets go.
    """
    from qmtl.foundation.times import iso, to_ns
    from qmtl.interfaces.cli.session import instant

    session = session_of(ctx)
    with session.open_store() as store:
        held = store.pin(name, as_of=None if as_of is None else to_ns(instant(as_of), name="--as-of"))
    session.show(f"{held.name} holds {iso(held.as_of)}; read it with --as-of {held.as_of}")
    session.emit(_json(held))


def unpin(ctx: typer.Context, name: Name, json: JsonToo = False) -> None:
    """Let go of a point in time.

    The next compaction sweeps what it alone held.
    """
    from qmtl.foundation.times import iso

    session = session_of(ctx)
    with session.open_store() as store:
        held = store.unpin(name)
    session.show(f"{held.name} holds {iso(held.as_of)} no longer")
    session.emit(_json(held))


def pins(ctx: typer.Context, json: JsonToo = False) -> None:
    """All held points in time."""
    from qmtl.foundation.times import iso
    from qmtl.interfaces.cli.tables import Rows

    session = session_of(ctx)
    with session.open_store(read_only=True) as store:
        held = store.pins()
    if held:
        rows = ((one.name, iso(one.as_of), str(one.as_of), iso(one.pinned_at)) for one in held)
        session.show(Rows(("name", "as of", "--as-of", "pinned"), rows))
    else:
        session.show("nothing is pinned")
    session.emit([_json(one) for one in held])


def _json(held: Pin) -> dict[str, Any]:
    from qmtl.foundation.times import iso

    return {
        "name": held.name,
        "as_of": held.as_of,
        "as_of_iso": iso(held.as_of),
        "pinned_at": iso(held.pinned_at),
    }
