"""`qmtl schema`: what a schema says, what a change would break, and bringing it into the registry."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qmtl.foundation.words import counted
from qmtl.interfaces.cli.arguments import as_path
from qmtl.interfaces.cli.guard import report_error
from qmtl.interfaces.cli.schema_context import BundleFolder, LogFile, SchemaContext, Subject
from qmtl.interfaces.cli.session import JsonToo, session_of

if TYPE_CHECKING:
    from qmtl.foundation.schema.documents import Schema

SchemaFile = Annotated[
    Path | None,
    typer.Argument(parser=as_path, metavar="FILE", help="*.json or *.avsc; that of the bundle without it."),
]


def check(
    ctx: typer.Context,
    subject: Subject,
    file: SchemaFile = None,
    against: Annotated[
        str | None,
        typer.Option(metavar="WHAT", help="A version, latest, or a bundle; else as the level says."),
    ] = None,
    bundle: BundleFolder = None,
    json: JsonToo = False,
) -> None:
    """What a schema would break, before anybody is hurt.

    Each problem comes with an instance that shows it. Compares with what is registered; without a registry,
    with the bundle that this package brings, at the level BACKWARD. Exit 6 if it is incompatible.
    """
    from qmtl.foundation.errors import IncompatibleSchemaError
    from qmtl.foundation.schema.builtin import BUILTIN
    from qmtl.foundation.schema.governance.bundle import Bundle
    from qmtl.foundation.schema.registry.contract import Version
    from qmtl.interfaces.cli.schema_showing import comparisons_json, comparisons_text

    session = session_of(ctx)
    context = SchemaContext(ctx, bundle, None)
    schema = context.schema(subject, file)
    version: Version | None = None
    if against is not None and (against == "latest" or against.isdecimal()):
        registry = context.remote("--against VERSION")
        version = "latest" if against == "latest" else int(against)
    elif against is not None:
        registry = context.registry(of=Bundle.read(against))
    else:
        registry = context.registry(of=Bundle.read(BUILTIN) if context.url is None else None)
    comparisons = registry.check(subject, schema, version=version)
    level = registry.level(subject, or_global=True)
    broken = [one for one in comparisons if not one.verdict.is_compatible]
    session.show(comparisons_text(subject, level, comparisons))
    session.emit(
        {
            "subject": subject,
            "level": level.value,
            "compatible": not broken,
            "comparisons": comparisons_json(comparisons),
        }
    )
    if broken:
        problems = sum(len(one.verdict.problems) for one in broken)
        raise typer.Exit(
            report_error(
                session,
                IncompatibleSchemaError(
                    f"the schema of {subject} would break what is there ({counted(problems, 'problem')})",
                    comparisons=comparisons,
                    next_step="correct the schema, or register it under another subject",
                ),
            )
        )


def register(
    ctx: typer.Context,
    subject: Annotated[
        str | None, typer.Argument(metavar="SUBJECT", help="All subjects of the bundle without it.")
    ] = None,
    file: SchemaFile = None,
    bundle: BundleFolder = None,
    log: LogFile = None,
    json: JsonToo = False,
) -> None:
    """Register a schema, or a whole bundle.

    Each new version is an entry of the audit log. What is registered already stays what it is. Exit 6 if it
    is incompatible.
    """
    from qmtl.foundation.errors import IncompatibleSchemaError
    from qmtl.foundation.schema.governance.audit import Event
    from qmtl.foundation.schema.governance.rollout import with_bundle
    from qmtl.interfaces.cli.schema_showing import comparisons_text
    from qmtl.interfaces.cli.tables import Rows

    session = session_of(ctx)
    context = SchemaContext(ctx, bundle, log)
    registry, audit = context.remote("to register"), context.log()
    # A broken log is reported before anything is done that it could not record.
    audit.refuse_broken()
    in_force = context.bundle()
    wanted: list[tuple[str, Schema]] = (
        [(one.subject, one.schema) for one in in_force.in_order()]
        if subject is None
        else [(subject, context.schema(subject, file))]
    )
    rows: list[dict[str, Any]] = []
    for name, schema in wanted:
        before = _versions(registry, name)
        try:
            done = registry.register(name, schema)
        except IncompatibleSchemaError as refusal:
            session.show(comparisons_text(name, registry.level(name, or_global=True), refusal.comparisons))
            raise
        entry = None
        if done.version not in before:
            event = Event(
                "register", name, done.version, evidence={"id": done.id, "url": _shown(context.url)}
            )
            entry = audit.append(with_bundle(in_force, event)).number
        rows.append({"subject": name, "version": done.version, "id": done.id, "entry": entry})
    names = ("subject", "version", "id")
    session.show(Rows((*names, "audit"), ([*(row[n] for n in names), _entry(row["entry"])] for row in rows)))
    session.emit(rows)


def compat(
    ctx: typer.Context,
    subject: Annotated[
        str | None, typer.Argument(metavar="SUBJECT", help="The whole registry without it.")
    ] = None,
    level: Annotated[
        str | None, typer.Option("--set", metavar="LEVEL", help="The level from now on, such as FULL.")
    ] = None,
    bundle: BundleFolder = None,
    log: LogFile = None,
    json: JsonToo = False,
) -> None:
    """Show or set the compatibility level.

    It says what new versions must be able to do: BACKWARD, FORWARD, FULL, each also _TRANSITIVE, or NONE.
    """
    from qmtl.foundation.schema.governance.audit import Event
    from qmtl.foundation.schema.governance.rollout import with_bundle

    session = session_of(ctx)
    context = SchemaContext(ctx, bundle, log)
    registry = context.remote("a compatibility level")
    in_force = registry.level(subject, or_global=True)
    if level is not None:
        audit = context.log()
        audit.refuse_broken()
        before, in_force = in_force, registry.set_level(level.upper(), subject)
        audit.append(
            with_bundle(
                context.bundle(), Event("level", subject, evidence={"level": in_force, "before": before})
            )
        )
    session.show(f"{subject or 'the registry'}: {in_force}")
    session.emit({"subject": subject, "level": in_force.value})


def show(
    ctx: typer.Context,
    subject: Subject,
    version: Annotated[str, typer.Argument(metavar="VERSION", help="A number, or latest.")] = "latest",
    tombstoned: Annotated[
        bool, typer.Option("--tombstoned", help="Also a version that is refused to new readers.")
    ] = False,
    bundle: BundleFolder = None,
    json: JsonToo = False,
) -> None:
    """The text of one version.

    One that is tombstoned is refused with the reason, unless --tombstoned is given.
    """
    from qmtl.foundation.schema.governance.decisions import in_force
    from qmtl.interfaces.cli.schema_showing import pretty

    session = session_of(ctx)
    context = SchemaContext(ctx, bundle, None)
    registry = context.remote("a version")
    with context.records() as records:
        governed = in_force(records.decisions(subject))
        wanted = _wanted(version)
        number = wanted or context.version(governed, subject, None)
    if not tombstoned:
        governed.refuse_tombstoned(subject, number)
    found = registry.version(subject, number, deleted=tombstoned)
    session.show(pretty(found.schema.text))
    session.emit(
        {
            "subject": subject,
            "version": found.version,
            "id": found.id,
            "type": found.schema.type.value,
            "tombstone": governed.tombstones.get(number),
            "references": [one._asdict() for one in found.schema.references],
            "schema": found.schema.text,
        }
    )


def diff(
    ctx: typer.Context,
    subject: Subject,
    old: Annotated[str, typer.Argument(metavar="OLD", help="A version, a file, or the folder of a bundle.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The same.")],
    json: JsonToo = False,
) -> None:
    """Two schemas side by side.

    With --json, what was added, removed and changed, with its place as a JSON Pointer.
    """
    from qmtl.interfaces.cli.schema_showing import changes, pretty, side_by_side

    session = session_of(ctx)
    context = SchemaContext(ctx, None, None)
    texts = [_side(context, subject, side) for side in (old, new)]
    found = changes(*texts)
    if found:
        session.show(side_by_side(old, new, *map(pretty, texts)))
    else:
        session.show(f"{old} and {new} say the same of {subject}")
    session.emit({"subject": subject, "old": old, "new": new, "changes": found})


def _side(context: SchemaContext, subject: str, side: str) -> str:
    number = _wanted(side)
    if side == "latest" or number is not None:
        return context.remote("a version").version(subject, number or "latest", deleted=True).schema.text
    return context.schema(subject, Path(side)).text


def _wanted(version: str) -> int | None:
    return int(version) if version.isascii() and version.isdecimal() else None


def _entry(number: int | None) -> str:
    return "was there" if number is None else f"entry {number}"


def _versions(registry: Any, subject: str) -> tuple[int, ...]:
    from qmtl.foundation.errors import SchemaRegistryError

    try:
        found: tuple[int, ...] = registry.versions(subject)
    except SchemaRegistryError as refusal:
        if refusal.status != 404:
            raise
        return ()
    return found


def _shown(url: str | None) -> str | None:
    """Without the credentials that may stand in it."""
    from urllib.parse import urlsplit, urlunsplit

    if url is None:
        return None
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
