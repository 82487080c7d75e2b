"""`qmtl jobs` and `qmtl leases`: what the workers of a coordinator are at, once or as it goes on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Any

import typer

from qmtl.interfaces.cli.fleet import asked
from qmtl.interfaces.cli.session import JsonToo, Session, instant, session_of
from qmtl.interfaces.cli.tables import Rows

Watch = Annotated[bool, typer.Option("--watch", help="Look each second, until Ctrl-C.")]
WATCH_S = 1.0


def jobs(
    ctx: typer.Context,
    cancel: Annotated[
        str | None, typer.Option("--cancel", metavar="JOB", help="Nobody takes its shards any more.")
    ] = None,
    watch: Watch = False,
    json: JsonToo = False,
) -> None:
    """Jobs that are queued, and how far workers are with them.

    They come from 'qmtl backfill --detach' and 'qmtl world apply --detach'; those that ended within a week
    are shown too. 'violations' counts shards that were tried five times and failed; the reasons stand below.
    """
    session = session_of(ctx)
    if cancel is not None:
        from qmtl.foundation.words import counted

        ended = asked(session, lambda client: client.cancel(cancel))
        goes_on = f"; workers end {counted(ended['claimed'], 'shard')} first" if ended["claimed"] else ""
        session.show(f"{cancel} is {ended['ended']}{goes_on}")
        session.emit(ended)
        return
    _look(session, lambda: _jobs(session), _jobs_table, watch=watch)


def leases(
    ctx: typer.Context,
    history: Annotated[
        str | None,
        typer.Option("--history", metavar="WHEN", help="Each step since then instead; kept for a day."),
    ] = None,
    watch: Watch = False,
    json: JsonToo = False,
) -> None:
    """Shards that workers hold, by whom and how far.

    Those that wait for another attempt, and that ended lately, are shown too. The progress is that of the
    whole backfill, of which a shard may be a part.
    """
    session = session_of(ctx)
    if history is None:
        _look(session, lambda: asked(session, lambda client: client.leases()), _leases_table, watch=watch)
        return
    from qmtl.foundation.times import to_ns

    since = to_ns(instant(history), name="--history")
    _look(session, lambda: asked(session, lambda client: client.history(since)), _steps_table, watch=watch)


def _jobs(session: Session) -> list[Any]:
    """Those with violations have them by name."""

    async def ask(client: Any) -> list[Any]:
        found = await client.jobs()
        return [
            await client.job(one["job"]) if one["violations"] else {**one, "violated": []} for one in found
        ]

    return asked(session, ask)


def _look(
    session: Session, ask: Callable[[], list[Any]], table: Callable[[list[Any]], list[Any]], *, watch: bool
) -> None:
    if not watch:
        found = ask()
        session.show(*table(found))
        session.emit(found)
        return
    from qmtl.foundation.errors import InvalidRequestError

    if session.json:
        raise InvalidRequestError(
            "--watch is for people, and --json for machines", next_step="leave out one of them"
        )
    import time

    from rich.console import Group
    from rich.live import Live

    with suppress(KeyboardInterrupt), Live(console=session.console(), auto_refresh=False) as live:
        while True:
            live.update(Group(*table(ask())), refresh=True)
            time.sleep(WATCH_S)


def _jobs_table(found: list[Any]) -> list[Any]:
    if not found:
        return ["no jobs"]
    columns = ("job", "state", "shards", "queued", "claimed", "done", "violations", "by")
    rows = Rows(columns, ([_job_cell(one, name) for name in columns] for one in found))
    violated = [
        (one["job"], *_place(shard["lease_key"]), shard["why"]) for one in found for shard in one["violated"]
    ]
    away = [
        (one["job"], f"{one['away']['shards']:,}", one["away"]["until"][:19], one["away"]["why"])
        for one in found
        if one.get("away")
    ]
    waiting = Rows(("job", "shards without their source", "until", "why"), away, prose=("why",))
    violations = Rows(("job", "violation of", "shard", "why"), violated, prose=("why",))
    return [rows, *(["", waiting] if away else []), *(["", violations] if violated else [])]


def _job_cell(job: dict[str, Any], column: str) -> str:
    if column == "state":
        return str(job["ended"] or ("queued" if job["queued"] == job["shards"] else "running"))
    cell = job[column]
    return f"{cell:,}" if isinstance(cell, int) else str(cell)


def _leases_table(found: list[Any]) -> list[Any]:
    if not found:
        return ["no leases"]
    columns = ("state", "holder", "progress", "attempts", "since", "why")
    rows = ([*_place(one["lease_key"]), *(_lease_cell(one, name) for name in columns)] for one in found)
    return [Rows(("series", "shard", *columns), rows, prose=("why",))]


def _steps_table(found: list[Any]) -> list[Any]:
    if not found:
        return ["no steps"]
    columns = ("holder", "attempts", "why")
    rows = (
        (
            one["at"][:23],
            one["event"],
            *(_place(one["lease_key"]) if one["lease_key"] else (f"job {one['job']}", "")),
            *(_lease_cell(one, name) for name in columns),
        )
        for one in found
    )
    return [Rows(("at", "event", "series", "shard", *columns), rows, prose=("why",))]


def _place(lease_key: str) -> tuple[str, str]:
    """Series and shard; the store is a number that people do not know it by."""
    from qmtl.foundation.leases import LeaseKey

    _, series, shard = LeaseKey.parse(lease_key)
    return series, str(shard)


def _lease_cell(lease: dict[str, Any], column: str) -> str:
    if column == "progress":
        shown = lease["progress"]
        return "" if shown is None else f"{shown['done']:,}/{shown['total']:,}"
    if column == "since":
        return str(lease["since"])[:19]
    if column == "why" and lease.get("violation"):
        return f"violation after {lease['violation']['attempts']} attempts: {lease['violation']['why']}"
    return "" if lease[column] is None else str(lease[column])
