"""Puts the commands together; what they do stands in the files beside this one."""

from __future__ import annotations

import atexit
import gc
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from qmtl.interfaces.cli.arguments import as_path
from qmtl.interfaces.cli.on_demand import OnDemand
from qmtl.interfaces.cli.process_list import hide_passwords
from qmtl.interfaces.cli.session import Log, Session, place

# Each function as `module.function` of this package.
COMMANDS: dict[str, str] = {
    "fetch": "fetch.fetch",
    "coverage": "coverage.coverage",
    "backfill": "backfill.backfill",
    "revalidate": "revalidate.revalidate",
    "worker": "worker.worker",
    "jobs": "jobs.jobs",
    "leases": "jobs.leases",
    "refresh": "refresh.refresh",
    "retract": "retract.retract",
    "import": "import_bars.import_bars",
    "export": "export.export",
    "submit": "submit.submit",
    "commits": "commits.commits",
    "diff": "export.diff",
    "calendars": "calendars.calendars",
    "doctor": "doctor.doctor",
    "demo": "demo.demo",
}
FAMILIES: dict[str, tuple[str, dict[str, str]]] = {
    "reports": (
        "What was found in the data; list, show, accept.",
        {
            "list": "reports.list_reports",
            "show": "reports.show",
            "accept": "reports.accept",
            "rules": "reports.rules",
        },
    ),
    "store": (
        "What the store holds, whether it is sound, its upkeep.",
        {
            "info": "info.info",
            "verify": "store.verify",
            "compact": "store.compact",
            "backup": "copies.backup",
            "restore": "copies.restore",
            "copy": "copies.copy",
            "migrate": "migration.migrate",
            "grant": "rights.grant",
            "declare": "store.declare",
            "pin": "pins.pin",
            "unpin": "pins.unpin",
            "pins": "pins.pins",
        },
    ),
    "snapshot": (
        "Snapshots of a store; list, verify, gc.",
        {"list": "snapshot.list_snapshots", "verify": "snapshot.verify", "gc": "snapshot.gc"},
    ),
    "schema": (
        "Schemas: judge a change, watch it, promote it.",
        {
            "check": "schema.check",
            "register": "schema.register",
            "compat": "schema.compat",
            "show": "schema.show",
            "diff": "schema.diff",
            "observe": "schema_rollout.observe",
            "status": "schema_rollout.status",
            "promote": "schema_rollout.promote",
            "rollback": "schema_rollout.rollback",
            "tombstone": "schema_rollout.tombstone",
        },
    ),
    "schema audit": (
        "The log of what was in force when, and whether it holds.",
        {
            "append": "schema_audit.append",
            "verify": "schema_audit.verify",
            "show": "schema_audit.show",
            "repair": "schema_audit.repair",
        },
    ),
    "world": (
        "World files: what they ask for, what it takes, and doing it.",
        {
            "validate": "world.validate",
            "show": "world.show",
            "plan": "world.plan",
            "apply": "world.apply",
            "list": "world.list_worlds",
            "schema": "world.schema",
        },
    ),
    "replay": (
        "Runs of strategies once more.",
        {"verify": "replay.verify"},
    ),
    "presets": (
        "Named recipes of data that a world chooses.",
        {"list": "presets.list_presets", "show": "presets.show"},
    ),
    "coordinator": (
        "Members that keep what coordinators know.",
        {
            "members": "coordinator.members",
            "add": "coordinator.add",
            "remove": "coordinator.remove",
            "snapshot": "coordinator.snapshot",
            "restore": "coordinator.restore",
        },
    ),
    "serve": (
        "Services, each in a process of its own.",
        {"registry": "serve.registry", "coordinator": "serve.coordinator"},
    ),
}

# New objects after which Python looks for garbage: more than a command loads (some 110,000). Its own 700 suit
# programs that make and drop them.
COLLECT_AFTER = 150_000


class _Root(TyperGroup):
    """All commands and families."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = OnDemand(COMMANDS, FAMILIES)  # type: ignore[assignment]  # nothing is added


# Plain help and no pretty tracebacks: both would load rich before a command asks for it.
app = typer.Typer(
    name="qmtl",
    cls=_Root,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog="Exit codes: 0 complete, 2 bad input, 3 data missing, 4 conformance, 5 SLA, "
    "6 schema, 7 source, store or service unavailable, 1 a defect of qmtl.",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from qmtl import __version__

        typer.echo(f"qmtl {__version__}")
        raise typer.Exit()


@app.callback()
def options(
    ctx: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(parser=as_path, metavar="FILE", help="Settings; without it, qmtl.yml of this folder."),
    ] = None,
    store: Annotated[
        Any,
        typer.Option(parser=place, metavar="DIR|URL", help="The store, instead of the one in the settings."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Machine output on stdout alone; all else on stderr.")
    ] = False,
    log: Annotated[
        Log, typer.Option("--log", help="How stderr is written: for people, or a JSON object a line.")
    ] = Log.text,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="Logs, and tracebacks of defects.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Show it and end.")
    ] = False,
) -> None:
    """Every bar of a series over a time range, checked, in time, with a receipt.

    A series is written ohlcv:VENUE:SYMBOL:TIMEFRAME, for example ohlcv:binance:BTC/USDT:1m. Ranges are
    half-open: START belongs to them, END does not. Times without a zone are UTC.
    """
    ctx.obj = Session(config=config, store=store, json=as_json, verbose=verbose, log=log)


def run() -> None:
    """What the `qmtl` script calls."""
    hide_passwords()
    _collect_garbage_rarely()
    _use_one_thread_for_matrices()
    if sys.stdout is None:  # closed by the shell: `>&-`
        typer.echo(
            "error: standard output is closed\n  next:   redirect it, to /dev/null if need be", err=True
        )
        sys.exit(7)
    # A terminal that cannot show a glyph gets a question mark, not a failure.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    app()


def _collect_garbage_rarely() -> None:
    """Most of what a command loads stays to its end, and the process ends with it.

    To look through it for garbage whenever more was loaded, and once again at the end, took a fifth of the
    time of a short command. Whatever is to be closed at the end is closed before.
    """
    gc.set_threshold(COLLECT_AFTER)
    atexit.register(gc.freeze)  # the first to be registered is the last to be called


def _use_one_thread_for_matrices() -> None:
    """No command multiplies matrices, and numpy starts a thread for each core to do so as it loads.

    That took a tenth of the processor time of a short command. Whoever does need them, in a vendor of one's
    own, sets the variable.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
