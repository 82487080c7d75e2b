"""`qmtl store info`: what the store holds, and what the server is that it lies on."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from qmtl.foundation.words import counted
from qmtl.interfaces.cli import questdb_checks, server_checks
from qmtl.interfaces.cli.session import JsonToo, Session, session_of
from qmtl.interfaces.cli.store import size

if TYPE_CHECKING:
    from qmtl.runtime.io.questdb.state import QuestDBState
    from qmtl.runtime.io.sql.postgres.server import ServerState
    from qmtl.runtime.io.sql.upkeep import KeptStore
    from qmtl.runtime.io.store.values import SeriesInfo


def info(ctx: typer.Context, json: JsonToo = False) -> None:
    """What it holds: series, rows, sizes, commits."""
    from qmtl.foundation.times import iso
    from qmtl.interfaces.cli.showing import facts_text
    from qmtl.interfaces.cli.tables import Rows

    session = session_of(ctx)
    with session.open_store(read_only=True) as store:
        whole, series = store.info(), [_series_json(one) for one in store.list_series()]
        server, catalog = _server_of(session, store), _catalog_of(session, store)
    lines = [
        ("store", whole.path),
        ("format", f"{whole.format}"),
        ("size", size(whole.bytes)),
        ("rows", f"{whole.rows:,} in {counted(whole.chunks, 'chunk')}, {whole.hot_rows:,} of them single"),
        ("history", counted(whole.old_versions, "older version") + _reach(whole.horizon)),
        ("reports", f"{whole.reports:,}"),
        ("kept aside", counted(whole.quarantined, "impossible row")),
        (
            "commits",
            f"{whole.last_tx:,}" + (f", newest {iso(whole.last_commit_at)}" if whole.last_tx else ""),
        ),
    ]
    if whole.lost:
        lines.append(("damage", f"{counted(whole.lost, 'range')} lost; 'qmtl store verify' names them"))
    if server is not None:
        lines += _facts_of(server)
    if catalog is not None:
        lines += [(f"catalog's {name}", said) for name, said in _facts_of(catalog)]
    session.show(facts_text(lines))
    if series:
        columns = ("series", "rows", "first", "last", "chunks", "bytes", "quarantined", "reports")
        session.show(Rows(columns, ([_cell(one[name]) for name in columns] for one in series)))
    times = {"last_commit_at": _time(whole.last_commit_at), "horizon": _time(whole.horizon)}
    servers = {"server": server, "catalog": catalog}
    known = {name: asdict(state) for name, state in servers.items() if state is not None}
    session.emit({**whole._asdict(), **times, **known, "series": series})


def _server_of(session: Session, store: KeptStore) -> ServerState | QuestDBState | None:
    """What the server of the rows of a store is; None for a folder, for which psycopg is not loaded."""
    if isinstance(session.settings().seamless.store, Path):
        return None
    from qmtl.runtime.io.questdb.store import QuestDBStore

    return store.questdb() if isinstance(store, QuestDBStore) else _postgres_of(store)


def _catalog_of(session: Session, store: KeptStore) -> ServerState | None:
    """What the server of the catalog is, where that is another one."""
    from qmtl.foundation.questdb_address import QuestDBAddress

    place = session.settings().seamless.store
    is_apart = isinstance(place, QuestDBAddress) and not isinstance(place.place, Path)
    return _postgres_of(store) if is_apart else None


def _postgres_of(store: KeptStore) -> ServerState:
    from qmtl.runtime.io.sql.postgres.store import PostgresStore

    assert isinstance(store, PostgresStore)
    return store.server()


def _facts_of(server: ServerState | QuestDBState) -> list[tuple[str, str]]:
    from qmtl.runtime.io.questdb.state import QuestDBState

    if isinstance(server, QuestDBState):
        return questdb_checks.facts_of(server)
    return server_checks.facts_of(server)


def _series_json(one: SeriesInfo) -> dict[str, Any]:
    from qmtl.foundation.times import iso

    first, last = (None, None) if one.span is None else (iso(one.span.start), iso(one.span.end))
    names = ("rows", "chunks", "hot_rows", "bytes", "answers", "quarantined", "reports")
    return {"series": str(one.series), "first": first, "last": last, **{n: getattr(one, n) for n in names}}


def _reach(horizon: int) -> str:
    from qmtl.foundation.times import iso

    return f", back to {iso(horizon)}" if horizon else ", kept for ever"


def _time(instant: int) -> str | None:
    """ISO; 0 stands for never."""
    from qmtl.foundation.times import iso

    return iso(instant) if instant else None


def _cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value or "")
