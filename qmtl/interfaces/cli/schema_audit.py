"""`qmtl schema audit`: the log of what was in force when, and whether it still holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from qmtl.foundation.words import counted
from qmtl.interfaces.cli.guard import report_error
from qmtl.interfaces.cli.schema_context import BundleFolder, LogFile, SchemaContext
from qmtl.interfaces.cli.session import JsonToo, session_of

if TYPE_CHECKING:
    from qmtl.foundation.schema.governance.audit import Entry, Verification
    from qmtl.interfaces.cli.session import Session

Note = Annotated[str, typer.Option("--note", metavar="TEXT", help="What people should know of it.")]


def append(
    ctx: typer.Context, note: Note, bundle: BundleFolder = None, log: LogFile = None, json: JsonToo = False
) -> None:
    """Write down which bundle is in force, and a note.

    Its SHA-256 is computed. The schemas of the bundle are read first: one that is no schema is refused.
    """
    from qmtl.foundation.schema.governance.audit import Event
    from qmtl.foundation.schema.governance.rollout import with_bundle

    session = session_of(ctx)
    context = SchemaContext(ctx, bundle, log)
    in_force = context.bundle()
    context.registry(of=in_force)
    subjects = {"subjects": [file.subject for file in in_force.files]}
    entry = context.log().append(with_bundle(in_force, Event("note", note=note, evidence=subjects)))
    _appended(session, entry)


def verify(
    ctx: typer.Context,
    head: Annotated[
        str | None,
        typer.Option(metavar="NUMBER:HASH", help="Where the log ended once, as printed."),
    ] = None,
    log: LogFile = None,
    json: JsonToo = False,
) -> None:
    """Find any edit, cut, insertion or move in the log. Exit 6 if it does not hold.

    The end is compared with the anchor in this user's state folder, and against --head.
    """
    from qmtl.foundation.schema.governance.audit import Anchor

    session = session_of(ctx)
    audit = SchemaContext(ctx, None, log).log()
    found = audit.verify(None if head is None else Anchor.parse(head))
    session.show(*found.problems, f"{counted(len(found.entries), 'entry', 'entries')}; {found.conclusion}")
    if found.is_intact and found.head is not None:
        session.show(f"head {found.head}")
    session.emit(_verification_json(found) | {"log": str(audit.path)})
    if not found.is_intact:
        raise typer.Exit(report_error(session, audit.broken(found)))


def show(ctx: typer.Context, log: LogFile = None, json: JsonToo = False) -> None:
    """All entries, oldest first, and where the log ends."""
    from qmtl.interfaces.cli.tables import Rows

    session = session_of(ctx)
    found = SchemaContext(ctx, None, log).log().verify()
    rows = (
        (
            one.number,
            one.at,
            one.action,
            " ".join(str(part) for part in (one.subject, one.version) if part is not None),
            (one.bundle_sha256 or "")[:16],
            one.note or one.evidence.get("reason", ""),
        )
        for one in found.entries
    )
    session.show(Rows(("number", "at", "action", "subject", "bundle", "note"), rows))
    session.show(found.conclusion)
    if found.is_intact:  # the head of a broken log is not worth keeping
        session.show(f"head {found.head}")
    session.emit([entry.to_json() for entry in found.entries])


def repair(ctx: typer.Context, note: Note = "", log: LogFile = None, json: JsonToo = False) -> None:
    """Replace a last line that broke off.

    The entry in its place quotes it.
    """
    session = session_of(ctx)
    entry = SchemaContext(ctx, None, log).log().repair(note)
    if entry is None:
        session.show("nothing is torn")
        session.emit(None)
    else:
        _appended(session, entry)


def _appended(session: Session, entry: Entry) -> None:
    from qmtl.interfaces.cli.showing import facts_text

    session.show(facts_text(appended_lines(entry)))
    session.emit(entry.to_json())


def appended_lines(entry: Entry) -> list[tuple[str, str]]:
    """What is shown of a new entry; the head is for keeping elsewhere."""
    from qmtl.foundation.schema.governance.audit import Anchor

    lines = [("entry", f"{entry.number}, {entry.action}"), ("at", entry.at)]
    if entry.bundle is not None:
        lines += [("bundle", entry.bundle), ("sha256", str(entry.bundle_sha256))]
    if entry.note:
        lines.append(("note", entry.note))
    return [*lines, ("head", str(Anchor(entry.number, entry.hash)))]


def _verification_json(found: Verification) -> dict[str, Any]:
    return {
        "intact": found.is_intact,
        "anchored": found.anchor is not None,
        "anchor": None if found.anchor is None else found.anchor._asdict(),
        "entries": len(found.entries),
        "problems": list(found.problems),
        "torn": len(found.torn),
        "conclusion": found.conclusion,
        "head": None if found.head is None else str(found.head),
    }
