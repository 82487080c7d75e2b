"""What people are told of the QuestDB of a store, and what of it the doctor warns of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from qmtl.foundation.words import counted
from qmtl.interfaces.cli.check import Check
from qmtl.interfaces.cli.store import size

if TYPE_CHECKING:
    from qmtl.runtime.io.questdb.state import QuestDBState
    from qmtl.runtime.io.sql.catalogs import Forgotten

_FOLLOWS = "the next commit of chunks makes it follow, and so does 'qmtl store compact'"
_MAY_LOSE = "a loss of power may take the newest rows"


def facts_of(state: QuestDBState) -> list[tuple[str, str]]:
    """Lines of `store info`."""
    waits = "the server waits for the disk" if state.waits_for_disk else _MAY_LOSE
    lines = [
        ("server", f"QuestDB {state.version}, {_progress(state)}"),
        ("durability", f"cairo.commit.mode {state.commit_mode}: {waits}"),
        ("table", f"{state.table}: {counted(state.rows, 'row')} of all versions, {size(state.bytes)}"),
        ("view", f"{state.view}: {_view(state)}" + (f"; {_FOLLOWS}" if _trails(state) else "")),
    ]
    if state.forgotten is not None:
        lines.append(("older catalog", "; ".join(_forgotten(state.forgotten, state.table))))
    return lines


def _view(state: QuestDBState) -> str:
    if state.trails_by is None:
        return "there is none that follows the catalog"
    if state.trails_by:
        return f"{counted(state.trails_by, 'commit')} behind"
    return "all chunks that hold; single rows are not in it before 'qmtl store compact'"


def _trails(state: QuestDBState) -> bool:
    return bool(state.trails_by) or (state.trails_by is None and state.rows > 0)


def _forgotten(found: Forgotten, table: str) -> tuple[str, str]:
    from qmtl.runtime.io.questdb.current import told_of

    return told_of(found, table)


def _progress(state: QuestDBState) -> str:
    if state.suspended_why is not None:
        return f"its table is suspended: {state.suspended_why}"
    if state.behind:
        return f"{counted(state.behind, 'transaction')} behind"
    return "all that it has taken can be read"


def questdb_checks(state: QuestDBState) -> Iterator[Check]:
    """What the doctor says of it."""
    said = f"QuestDB {state.version}, {_progress(state)}"
    if state.suspended_why is not None:
        yield Check("server", "fail", said, f"remove the cause, then: ALTER TABLE {state.table} RESUME WAL")
    elif state.behind:
        yield Check("server", "warn", said, "wait, and repeat")
    else:
        yield Check("server", "ok", said)
    if state.forgotten is not None:
        yield Check("store", "warn", *_forgotten(state.forgotten, state.table))
    if _trails(state):
        yield Check("view", "warn", f"{state.view}: {_view(state)}", _FOLLOWS)
    if state.pg_trouble is not None:
        yield Check(
            "server",
            "warn",
            f"pg= of the address does not work, and few bars come by HTTP: {state.pg_trouble}",
            "the port, the user and the password of PostgreSQL's protocol there; or leave pg= out",
        )
    if not state.waits_for_disk:
        yield Check(
            "server",
            "warn",
            f"cairo.commit.mode is {state.commit_mode}: {_MAY_LOSE}; they would be asked for again",
            "cairo.commit.mode=sync in server.conf, and restart it",
        )
