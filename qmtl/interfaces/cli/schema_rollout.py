"""`qmtl schema`, the rollout: watch the canary, promote, roll back, tombstone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qmtl.foundation.words import counted
from qmtl.interfaces.cli.arguments import as_path
from qmtl.interfaces.cli.schema_context import (
    BundleFolder,
    LogFile,
    Reason,
    SchemaContext,
    Subject,
    VersionOption,
)
from qmtl.interfaces.cli.session import JsonToo, session_of

if TYPE_CHECKING:
    from qmtl.foundation.schema.governance.audit import Entry
    from qmtl.foundation.schema.governance.decisions import GovernanceRecords
    from qmtl.foundation.schema.governance.rollout import Rollout
    from qmtl.interfaces.cli.session import Session

Window = Annotated[str, typer.Option(metavar="DURATION", help="How far back observations count.")]
_A_WINDOW = "48h"


def observe(
    ctx: typer.Context,
    subject: Subject,
    file: Annotated[
        Path, typer.Argument(parser=as_path, metavar="FILE", help="Rows: .parquet, .arrow, .csv or .jsonl.")
    ],
    version: VersionOption = None,
    bundle: BundleFolder = None,
    json: JsonToo = False,
) -> None:
    """Count which rows of a file break a schema.

    They are judged as the answer of a fetch is. The counts are kept as an observation of the version in
    force. As a canary does: a failure is shown and counted, and is no error.
    """
    from qmtl.foundation.clock import SystemClock
    from qmtl.foundation.schema.governance.decisions import Observation, hour_of, in_force
    from qmtl.interfaces.cli.schema_checks import broken_rows, checked_columns
    from qmtl.interfaces.cli.schema_rows import rows_of

    session = session_of(ctx)
    context = SchemaContext(ctx, bundle, None)
    with context.records(make=True) as records:
        number = context.version(in_force(records.decisions(subject)), subject, version)
        schema = (
            context.schema(subject, None)
            if context.url is None
            else context.registry().version(subject, number).schema
        )
        requested = checked_columns(subject, number, schema)
        rows = rows_of(file, requested)
        failed, first = broken_rows(rows, requested, most=5)
        records.observe(subject, Observation(number, hour_of(SystemClock.now()), rows.count, failed))
    session.show(f"{subject} version {number}: {counted(rows.count, 'row')} checked, {failed:,} failed")
    for place, why in first.items():
        session.show(f"  row {place}: {why}")
    for what in requested.unchecked:
        session.show(f"  could not be asked: {what}")
    session.emit(
        {
            "subject": subject,
            "version": number,
            "checked": rows.count,
            "failed": failed,
            "first": [{"row": place, "why": why} for place, why in first.items()],
            "could_not_ask": list(requested.unchecked),
        }
    )


def status(
    ctx: typer.Context,
    subject: Subject,
    window: Window = _A_WINDOW,
    version: VersionOption = None,
    bundle: BundleFolder = None,
    log: LogFile = None,
    json: JsonToo = False,
) -> None:
    """The mode of a subject, and what was observed.

    A decision that has no entry in the audit log is named: somebody made it by other means.
    """
    from qmtl.foundation.clock import SystemClock
    from qmtl.foundation.schema.governance.decisions import evidence, in_force, window_start
    from qmtl.foundation.times import iso
    from qmtl.interfaces.cli.showing import facts_text

    session = session_of(ctx)
    context = SchemaContext(ctx, bundle, log)
    seconds = _seconds(window)
    with context.records() as records:
        decisions = records.decisions(subject)
        governed = in_force(decisions)
        number = version or governed.newest(context.known(subject)) or max(context.known(subject))
        now = SystemClock.now()
        observed = records.observed(subject, window_start(now, seconds))
    logged = context.logged()
    unlogged = [one for one in decisions if logged is not None and one.entry not in logged]
    found = evidence(observed, number, now=now, window_s=seconds)
    lines = [
        ("subject", subject),
        ("version", str(number)),
        ("mode", governed.mode or "not decided; the settings say it (canary by default)"),
        (
            "observed",
            f"{counted(found['checked'], 'row')} checked, {found['failed']:,} failed, in the last {window}",
        ),
        *((f"version {dead}", f"tombstoned: {reason}") for dead, reason in governed.tombstones.items()),
        *(
            ("not logged", f"{one.action}, decided {iso(one.at)}, is not in the audit log")
            for one in unlogged
        ),
    ]
    session.show(facts_text(lines))
    session.emit(
        {
            "subject": subject,
            "version": number,
            "mode": governed.mode,
            "evidence": found,
            "tombstones": {str(dead): why for dead, why in governed.tombstones.items()},
            "not_logged": [{**one.to_json(), "at": iso(one.at)} for one in unlogged],
        }
    )


def promote(
    ctx: typer.Context,
    subject: Subject,
    window: Window = _A_WINDOW,
    version: VersionOption = None,
    override: Annotated[
        bool, typer.Option("--override", help="Promote whatever was observed; needs --reason.")
    ] = False,
    reason: Reason = "",
    bundle: BundleFolder = None,
    log: LogFile = None,
    json: JsonToo = False,
) -> None:
    """Make validation strict: failures raise from now on.

    Wants at least one observation in the window, and no failure; else exit 6.
    """
    from qmtl.foundation.schema.governance.decisions import in_force

    seconds = _seconds(window)

    def step(rollout: Rollout, records: GovernanceRecords, context: SchemaContext) -> Entry:
        governed = in_force(records.decisions(subject))
        number = context.version(governed, subject, version)
        governed.refuse_tombstoned(subject, number)
        return rollout.promote(subject, number, window_s=seconds, override=override, reason=reason)

    _take(ctx, bundle, log, step, f"{subject} is strict now")


def rollback(
    ctx: typer.Context,
    subject: Subject,
    reason: Reason = "",
    bundle: BundleFolder = None,
    log: LogFile = None,
    json: JsonToo = False,
) -> None:
    """Back to canary: failures are counted and raise no more. Readers follow within 5 s."""

    def step(rollout: Rollout, records: GovernanceRecords, context: SchemaContext) -> Entry:
        if not records.decisions(subject):
            context.known(subject)  # a slip in its name must not look like a rollback
        return rollout.rollback(subject, reason=reason)

    _take(ctx, bundle, log, step, f"{subject} is canary now")


def tombstone(
    ctx: typer.Context,
    subject: Subject,
    version: Annotated[int, typer.Argument(metavar="VERSION", min=1)],
    reason: Reason = "",
    bundle: BundleFolder = None,
    log: LogFile = None,
    json: JsonToo = False,
) -> None:
    """Refuse a version to new readers, with the reason. Who must can still read it."""
    from qmtl.foundation.schema.governance.decisions import in_force

    def step(rollout: Rollout, records: GovernanceRecords, context: SchemaContext) -> Entry:
        context.version(in_force(records.decisions(subject)), subject, version)
        return rollout.tombstone(subject, version, reason=reason)

    _take(ctx, bundle, log, step, f"version {version} of {subject} is tombstoned")


def _take(ctx: typer.Context, bundle: Path | None, log: Path | None, step: Any, done: str) -> None:
    from qmtl.foundation.schema.governance.rollout import Rollout
    from qmtl.interfaces.cli.schema_audit import appended_lines
    from qmtl.interfaces.cli.showing import facts_text

    session: Session = session_of(ctx)
    context = SchemaContext(ctx, bundle, log)
    with context.records(make=True) as records:
        entry = step(Rollout(records, context.log(), context.bundle()), records, context)
    session.show(done, facts_text(appended_lines(entry)))
    session.emit(entry.to_json())


def _seconds(window: str) -> float:
    from qmtl.foundation.errors import InvalidRequestError
    from qmtl.foundation.times import to_seconds

    seconds = to_seconds(window, name="--window")
    if seconds <= 0:
        raise InvalidRequestError("--window must be longer than nothing", next_step="give, for example, 48h")
    return seconds
