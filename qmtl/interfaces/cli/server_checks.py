"""What people are told of the server of a store, and what of it the doctor warns of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from qmtl.foundation.times import iso
from qmtl.foundation.words import counted
from qmtl.interfaces.cli.check import Check
from qmtl.interfaces.cli.store import size

if TYPE_CHECKING:
    from qmtl.runtime.io.sql.postgres.server import ServerState

# More dead rows than this, and than there are others, are worth a look.
MANY_DEAD = 100_000


def facts_of(state: ServerState) -> list[tuple[str, str]]:
    """Lines of `store info`."""
    switches = ("fsync", "full_page_writes", "data_checksums")
    kept = [f"{name} {'on' if getattr(state, name) else 'off'}" for name in switches]
    cleared = "never cleared up" if state.vacuumed_at is None else f"cleared up {iso(state.vacuumed_at)}"
    return [
        ("server", f"PostgreSQL {state.version}, {_part(state)}"),
        ("durability", f"synchronous_commit {state.synchronous_commit}, {', '.join(kept)}"),
        ("dead rows", f"{state.dead_rows:,}, {state.dead_fraction:.0%} of all; {cleared}"),
    ]


def _part(state: ServerState) -> str:
    if state.is_replica:
        if state.last_replayed is None:
            return "a replica in recovery, which has replayed nothing yet"
        return f"a replica in recovery, which has what was committed up to {iso(state.last_replayed)}"
    if not state.replicas:
        return "a primary without a replica"
    behind = "" if state.behind_bytes is None else f", the slowest {size(state.behind_bytes)} behind"
    waits = f"commits wait for {state.waited_for}" if state.waited_for else "commits wait for none of them"
    return f"a primary with {counted(state.replicas, 'replica')}{behind}; {waits}"


def server_checks(state: ServerState) -> Iterator[Check]:
    """What the doctor says of it."""
    yield Check("server", "ok", f"PostgreSQL {state.version}, {_part(state)}")
    for name in ("fsync", "full_page_writes"):
        if not getattr(state, name):
            yield Check(
                "server",
                "warn",
                f"{name} is off: a loss of power may take what was committed, or damage the database",
                f"{name} = on in postgresql.conf, and restart it",
            )
    if not state.data_checksums:
        yield Check(
            "server",
            "warn",
            "data_checksums are off: it does not notice damage of its own pages",
            "stop it, and: pg_checksums --enable",
        )
    if state.dead_rows > max(MANY_DEAD, state.live_rows):
        yield Check(
            "server",
            "warn",
            f"{state.dead_rows:,} rows are dead, {state.dead_fraction:.0%} of all",
            "qmtl store compact, as the owner; see whether autovacuum runs",
        )
