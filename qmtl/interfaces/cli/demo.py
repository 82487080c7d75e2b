"""`qmtl demo`: bars are filled, broken, healed and checked in front of your eyes."""

from __future__ import annotations

import typer

from qmtl.interfaces.cli.session import session_of


def demo(ctx: typer.Context) -> None:
    """Real bars, filled, broken, healed and checked; offline."""
    from qmtl.foundation.local_paths import folder_path
    from qmtl.interfaces.demo.main import run_demo

    store = session_of(ctx).store
    run_demo(folder_path(store, "the store of the demo") if isinstance(store, str) else store)
