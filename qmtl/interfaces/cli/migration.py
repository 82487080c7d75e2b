"""`qmtl store migrate`: a store of an older format becomes one of today's."""

from __future__ import annotations

import typer

from qmtl.interfaces.cli.session import JsonToo, session_of


def migrate(ctx: typer.Context, json: JsonToo = False) -> None:
    """Let a store that an older qmtl has made have the format of today.

    In one transaction: ended early, it is what it was. No way leads back but a backup. Refused while anybody
    has the store open.
    """
    from qmtl.runtime.sdk.store_migration import migrate_store

    session = session_of(ctx)
    done = migrate_store(session.settings().seamless.store)
    if done.before == done.after:
        session.show(f"{done.place} has format {done.after} already")
    else:
        session.show(f"{done.place} had format {done.before}, and has format {done.after} now")
    session.emit(done._asdict())
