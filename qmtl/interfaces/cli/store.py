"""`qmtl store`: what is declared, whether the store is sound, and its upkeep."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qmtl.foundation.words import counted
from qmtl.interfaces.cli.guard import report_error
from qmtl.interfaces.cli.session import JsonToo, session_of

if TYPE_CHECKING:
    from qmtl.foundation.errors import StoreError
    from qmtl.interfaces.cli.session import Session
    from qmtl.runtime.io.sql.verify import Verification
    from qmtl.runtime.io.store.damage import Damage


def declare(
    ctx: typer.Context,
    series: Annotated[str, typer.Argument(metavar="SERIES", help="Its node id.")],
    calendar: Annotated[
        str | None, typer.Option(metavar="NAME", help="24x7, FX, or a MIC such as XNYS.")
    ] = None,
    anchor: Annotated[
        str | None, typer.Option(metavar="clock|session", help="Where intraday bars lie.")
    ] = None,
    allow_nonpositive: Annotated[
        bool | None, typer.Option(help="Whether prices of zero and less are possible.", show_default=False)
    ] = None,
    has_volume: Annotated[
        bool | None, typer.Option(help="Whether the source has volumes.", show_default=False)
    ] = None,
    json: JsonToo = False,
) -> None:
    """Declare facts of a series anew.

    What was declared before stays readable by --as-of.
    """
    from qmtl.foundation.errors import InvalidRequestError
    from qmtl.foundation.facts import SeriesFacts
    from qmtl.foundation.series import SeriesId
    from qmtl.runtime.sdk.declaring import try_declaration
    from qmtl.runtime.sdk.series_declarations import SeriesDeclarations

    session, name = session_of(ctx), SeriesId.parse(series)
    declared: dict[str, Any] = {
        key: value
        for key, value in (
            ("calendar", calendar),
            ("anchor", anchor),
            ("allow_nonpositive", allow_nonpositive),
            ("has_volume", has_volume),
        )
        if value is not None
    }
    if not declared:
        raise InvalidRequestError(
            "nothing is declared", series=name, next_step="give --calendar, --anchor, ..."
        )
    with session.open_store() as store:
        stored = store.facts(name)
        facts = SeriesFacts.from_mapping({**(stored or SeriesFacts()).to_mapping(), **declared})
        try_declaration(store, name, SeriesDeclarations(store).grid(name, facts), facts, stored)
        store.declare(name, facts)
    session.show(f"{name}: calendar {facts.calendar_name}, anchor {facts.anchor or 'clock'}")
    session.emit({"series": str(name), **asdict(facts)})


def size(count: int) -> str:
    """Bytes as people say them."""
    amount, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if amount < 1024:
            break
        amount, unit = amount / 1024, larger
    return f"{amount:,.0f} {unit}" if unit == "B" else f"{amount:,.1f} {unit}"


def verify(
    ctx: typer.Context,
    repair: Annotated[
        bool, typer.Option("--repair", help="Make damaged ranges unknown, so that the next fetch heals them.")
    ] = False,
    acknowledge: Annotated[
        bool, typer.Option("--acknowledge", help="Report what was lost no longer: it will not come back.")
    ] = False,
    json: JsonToo = False,
) -> None:
    """Read every chunk against its checksum, and name what is damaged.

    Exit 7 if something is and was not repaired, or if something was and is neither healed nor acknowledged.
    """
    from qmtl.interfaces.cli.declarations import (
        broken_in,
        declarations_error,
        declarations_table,
        in_one_line,
    )
    from qmtl.interfaces.cli.progress import Bars

    session = session_of(ctx)
    writes = repair or acknowledge
    with session.open_store(read_only=not writes, lost_commits_ok=acknowledge) as store, Bars() as bars:
        found = store.verify(progress=lambda done, total: bars.advance("chunks", done, total), repair=repair)
        acknowledged = store.acknowledge() if acknowledge else 0
        path = store.location
        # A damaged file may not be able to list its series and what is declared of them.
        broken = broken_in(store) if found.is_readable else []
    _show_damage(session, found)
    if broken:
        session.show(declarations_table(broken))
    declarations = [
        {"series": str(one.series), **one.facts.to_mapping(), "why": in_one_line(one)} for one in broken
    ]
    document = {**_verification_json(found, path), "acknowledged": acknowledged}
    session.emit({**document, "declarations": declarations})
    if found.is_sound and broken:
        raise typer.Exit(report_error(session, declarations_error(broken, path)))
    if found.is_sound:
        _verify_flags(session, repair=repair)
        session.show("all is sound")
        return
    if acknowledged:
        session.show(f"{counted(acknowledged, 'lost range')} will be reported no more; they stay unknown")
    if (found.damage and not found.repaired) or found.problems or (found.lost and not writes):
        raise typer.Exit(report_error(session, _damage_error(found, path)))
    if found.repaired:
        session.show("what was damaged is unknown now; the next fetch asks for it again")


def _verify_flags(session: Session, *, repair: bool) -> None:
    """Exit 7 where flags that were kept differ from what the rules find."""
    from qmtl.foundation.errors import StoreCorruptError

    with session.provider(make=False) as provider:
        found = provider.verify_flags(repair=repair)
    if found.ranges:
        session.show(f"the flags of {counted(found.ranges, 'kept range')} were found again")
    if found.differing and not repair:
        series, span = found.differing[0]
        raise typer.Exit(
            report_error(
                session,
                StoreCorruptError(
                    f"the flags of {counted(len(found.differing), 'kept range')} are not what the rules find",
                    series=series,
                    span=span,
                    next_step="`qmtl store verify --repair` keeps the right ones; bars are sound",
                ),
            )
        )


def _show_damage(session: Session, found: Verification) -> None:
    from qmtl.foundation.times import iso
    from qmtl.interfaces.cli.tables import Rows

    if found.damage:
        rows = ((str(one.series), str(one.span), _place(one), one.why) for one in found.damage)
        session.show(Rows(("series", "range", "place", "damage"), rows, prose=("damage",)))
    if found.lost:
        lost = ((str(one.series), str(one.span), iso(one.found_at), one.why) for one in found.lost)
        session.show(Rows(("series", "lost", "found at", "damage"), lost, prose=("damage",)))
    session.show(
        *found.problems,
        *found.notes,
        f"{counted(found.chunks, 'chunk')} and {counted(found.hot_rows, 'single row')} were read",
    )


def _place(one: Damage) -> str:
    if one.of_index:
        return "index"
    return "single row" if one.chunk is None else f"chunk {one.chunk}"


def _damage_error(found: Verification, path: str) -> StoreError:
    from qmtl.foundation.errors import StoreCorruptError

    counts = {
        ("damaged part", ""): len(found.damage),
        ("range", " lost to earlier damage"): len(found.lost),
        ("problem", " of the file"): len(found.problems),
    }
    shown = [f"{counted(count, noun)}{which}" for (noun, which), count in counts.items() if count]
    if found.problems:
        next_step = (
            "'qmtl store verify --repair' makes anew what can be; else bring the store back from a backup "
            "('qmtl store restore'), or 'qmtl export' what can be read"
        )
    elif found.damage:
        next_step = (
            "'qmtl store verify --repair' makes these ranges unknown, so that the next fetch heals them"
        )
    else:
        next_step = (
            "fetch these ranges again, or bring the store back from a backup ('qmtl store restore'); "
            "'qmtl store verify --acknowledge' reports them no more"
        )
    return StoreCorruptError(
        f"the store has {' and '.join(shown)}",
        path=path,
        next_step=next_step,
    )


def _verification_json(found: Verification, path: str) -> dict[str, Any]:
    from qmtl.foundation.times import iso

    return {
        "store": path,
        "sound": found.is_sound,
        "repaired": found.repaired,
        "chunks": found.chunks,
        "hot_rows": found.hot_rows,
        "damage": [
            {
                "series": str(one.series),
                "start": iso(one.span.start),
                "end": iso(one.span.end),
                "chunk": one.chunk,
                "why": one.why,
            }
            for one in found.damage
        ],
        "lost": [
            {
                "series": str(one.series),
                "start": iso(one.span.start),
                "end": iso(one.span.end),
                "why": one.why,
                "found_at": iso(one.found_at),
            }
            for one in found.lost
        ],
        "problems": list(found.problems),
        "notes": list(found.notes),
    }


def compact(ctx: typer.Context, json: JsonToo = False) -> None:
    """Fold single rows and small chunks; drop what the retention lets go."""
    from qmtl.interfaces.cli.progress import Bars

    session = session_of(ctx)
    with session.open_store() as store, Bars() as bars:
        done = store.compact(progress=lambda number, total: bars.advance("stretches", number, total))
    session.show(
        f"{counted(done.windows, 'stretch', 'stretches')} made anew, "
        f"{counted(done.hot_folded, 'single row')} folded, {counted(done.swept, 'old version')} dropped; "
        f"{size(done.bytes_before)} before, {size(done.bytes_after)} now"
    )
    if done.unnamed:
        session.show(f"{counted(done.unnamed, 'row')} that no commit names dropped")
    if done.left:
        session.show(done.left)
    session.emit(asdict(done))
