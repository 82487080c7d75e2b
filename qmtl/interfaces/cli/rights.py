"""`qmtl store grant`: who may read a store on a server, and who may write it."""

from __future__ import annotations

from typing import Annotated

import typer

from qmtl.interfaces.cli.session import JsonToo, session_of
from qmtl.runtime.io.sql.postgres.rights import Right

_MAY = {Right.none: "neither read nor write", Right.reader: "read", Right.writer: "read and write"}


def grant(
    ctx: typer.Context,
    right: Annotated[Right, typer.Argument(help="What the role may do.")],
    role: Annotated[str, typer.Argument(metavar="ROLE", help="A role that the server knows.")],
    json: JsonToo = False,
) -> None:
    """Let a role of the server read the store, or write it, or neither.

    Only the owner of the store can. The role has no other right of its own to the store then.
    """
    session = session_of(ctx)
    with session.server_store("a right") as store:
        done = store.grant(right, role)
    session.show(f"{role} may {_MAY[right]} the store now:", *(f"  {statement};" for statement in done))
    session.emit({"role": role, "right": right.value, "statements": done})
