"""`qmtl snapshot`, and the half of `export` and `import` that writes and loads snapshots."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from qmtl.foundation.words import counted
from qmtl.interfaces.cli.session import JsonToo, Session, instant, session_of

if TYPE_CHECKING:
    from qmtl.runtime.io.snapshots.manifest import Manifest
    from qmtl.runtime.io.snapshots.upkeep import Listed

Made = TypeVar("Made")

Where = Annotated[str, typer.Argument(metavar="PLACE", help="The folder of snapshots, or s3://BUCKET/PATH.")]

# What stands beside --snapshot; all other options of `import` are about files.
_OF_LOADING = {"snapshot", "number", "series", "json"}


def write(
    session: Session, dest: str, series: str | None, start: str | None, end: str | None, as_of: int | None
) -> None:
    """Write a snapshot of the store."""
    from qmtl.foundation.times import iso
    from qmtl.interfaces.cli.store import size
    from qmtl.runtime.sdk.snapshot_export import export_snapshot

    made = _exported(export_snapshot, session, dest, series, start, end, as_of)
    manifest = made.manifest
    session.show(
        f"snapshot {manifest.number} at {made.location}: {len(manifest.series):,} series, "
        f"{counted(manifest.rows, 'bar')}, as of {iso(manifest.as_of)}",
        f"{counted(made.written, 'file')} of {size(made.bytes)} written, "
        f"{counted(made.kept, 'file')} of earlier snapshots used again",
        f"fingerprint {manifest.fingerprint}",
    )
    session.emit(
        {**_json(manifest), "place": made.location, "written": made.written, "bytes": made.bytes}
        | {"kept": made.kept}
    )


def write_table(
    session: Session,
    form: str,
    dest: str,
    series: str | None,
    start: str | None,
    end: str | None,
    as_of: int | None,
) -> None:
    """Write the store as a table of other tools."""
    from qmtl.foundation.errors import InvalidRequestError
    from qmtl.foundation.times import iso
    from qmtl.runtime.sdk.delta_export import export_delta

    if form != "delta":
        raise InvalidRequestError(
            f"{form!r} is no format of a snapshot", next_step="leave it out, or write --format delta"
        )
    made = _exported(export_delta, session, dest, series, start, end, as_of)
    session.show(
        f"version {made.version} of the table at {made.location}: {made.series:,} series, "
        f"{counted(made.rows, 'bar')}, as of {iso(made.as_of)}"
    )
    session.emit({**asdict(made), "as_of_iso": iso(made.as_of)})


def _exported(
    export: Callable[..., Made],
    session: Session,
    dest: str,
    series: str | None,
    start: str | None,
    end: str | None,
    as_of: int | None,
) -> Made:
    """What `export_snapshot`, or one that takes the same, makes of the store of the session."""
    from qmtl.foundation.series import SeriesId
    from qmtl.interfaces.cli.known import check_known
    from qmtl.interfaces.cli.progress import Bars

    chosen = None if series is None else SeriesId.parse(series)
    with session.open_store(read_only=True) as store, Bars() as bars:
        if chosen is not None:
            check_known(store, chosen)
        return export(
            store,
            dest,
            series=None if chosen is None else [chosen],
            start=instant(start),
            end=instant(end),
            as_of=as_of,
            progress=bars.advance,
        )


def load(ctx: typer.Context, source: str, number: int | None, series: str | None) -> None:
    """Load a snapshot into the store."""
    from qmtl.foundation.errors import InvalidRequestError
    from qmtl.foundation.times import iso
    from qmtl.interfaces.cli.progress import Bars
    from qmtl.runtime.sdk.snapshot_import import import_snapshot

    session = session_of(ctx)
    given = (name for name in ctx.params if name not in _OF_LOADING)
    for name in given:
        origin = ctx.get_parameter_source(name)
        if origin is not None and origin.name == "COMMANDLINE":
            option = "FILE" if name == "file" else f"--{name.replace('_', '-')}"
            raise InvalidRequestError(
                f"{option} cannot stand with --snapshot",
                why="it is about reading a file, and a snapshot says all of itself",
                next_step=f"leave out {option}",
            )
    with Bars() as bars:
        loaded = import_snapshot(
            session.settings(),
            source,
            number=number,
            series=None if series is None else [series],
            progress=bars.advance,
        )
    manifest = loaded.manifest
    rows = sum(one.rows for one in loaded.series)
    session.show(
        f"snapshot {manifest.number} at {loaded.location}, as of {iso(manifest.as_of)}: "
        f"{len(loaded.series):,} series, {counted(rows, 'bar')}, every file verified"
    )
    for one in loaded.series:
        became = {"added": one.added, "unchanged": one.unchanged, "replaced": one.replaced}
        text = ", ".join(f"{count:,} {what}" for what, count in became.items() if count) or "no bars"
        session.show(f"{one.series}: {text}, {counted(one.reports, 'report')}")
        for span in one.differs:
            session.show(f"  in {span} the store has bars that the snapshot lacks")
    session.emit(
        {
            "place": loaded.location,
            "number": manifest.number,
            "fingerprint": manifest.fingerprint,
            "as_of": loaded.as_of,
            "as_of_iso": iso(loaded.as_of),
            "series": [
                {
                    **one._asdict(),
                    "series": str(one.series),
                    "differs": [[iso(span.start), iso(span.end)] for span in one.differs],
                }
                for one in loaded.series
            ],
        }
    )


def list_snapshots(ctx: typer.Context, where: Where, json: JsonToo = False) -> None:
    """The snapshots of a place, and whether their manifests can be read."""
    from qmtl.foundation.times import iso
    from qmtl.interfaces.cli.tables import Rows
    from qmtl.runtime.io.snapshots.addresses import place_named
    from qmtl.runtime.io.snapshots.upkeep import list_snapshots as listed

    session = session_of(ctx)
    place = place_named(where)
    found = listed(place)
    if found:
        table = ((str(one.number), *_cells(one)) for one in found)
        session.show(Rows(("number", "as of", "written", "series", "bars", "fingerprint"), table))
        for one in found:
            if one.problem is not None:
                session.show(f"{one.number}: {one.problem}")
    else:
        session.show(f"there is no snapshot at {place.location}")
    session.emit(
        [
            {"number": one.number, "problem": one.problem}
            if one.manifest is None
            else {**_json(one.manifest), "created_at": iso(one.manifest.created_at), "problem": None}
            for one in found
        ]
    )


def _cells(one: Listed) -> tuple[str, ...]:
    from qmtl.foundation.times import iso

    if one.manifest is None:
        return ("cannot be read", "", "", "", "")
    manifest = one.manifest
    times = iso(manifest.as_of), iso(manifest.created_at)
    return (*times, f"{len(manifest.series):,}", f"{manifest.rows:,}", manifest.fingerprint[:23])


def verify(
    ctx: typer.Context,
    where: Where,
    number: Annotated[
        int | None, typer.Option(metavar="N", help="Of the snapshot; without it, the newest.")
    ] = None,
    json: JsonToo = False,
) -> None:
    """Read every file of a snapshot, and name what is damaged.

    Files are read against their checksums, and bars against their fingerprints: exit 7 where one is another.
    """
    from qmtl.foundation.errors import StoreCorruptError
    from qmtl.interfaces.cli.progress import Bars
    from qmtl.interfaces.cli.store import size
    from qmtl.runtime.io.snapshots.addresses import place_named
    from qmtl.runtime.io.snapshots.numbering import read_manifest
    from qmtl.runtime.io.snapshots.upkeep import verify_snapshot

    session = session_of(ctx)
    place = place_named(where)
    manifest = read_manifest(place, number)
    with Bars() as bars:
        found = verify_snapshot(place, manifest, lambda done, total: bars.advance("verifying", done, total))
    what = f"{counted(found.files, 'file')} of {size(found.bytes)}, {counted(found.rows, 'bar')}"
    session.show(
        f"snapshot {found.number} at {place.location}: {what}; "
        + ("all are whole" if not found.problems else f"{len(found.problems):,} are damaged"),
        *found.problems,
    )
    session.emit({**_json(manifest), "files": found.files, "problems": list(found.problems)})
    if found.problems:
        raise StoreCorruptError(
            f"{counted(len(found.problems), 'file')} of the snapshot {found.number} cannot be used",
            path=place.location,
            why=found.problems[0],
            next_step="put good copies of them in their place, or take another snapshot",
        )


def gc(
    ctx: typer.Context,
    where: Where,
    grace: Annotated[
        str, typer.Option(metavar="TIME", help="What is newer than this stays: 24h, 7d.")
    ] = "24h",
    delete: Annotated[
        bool, typer.Option("--delete", help="Delete them; without it they are only shown.")
    ] = False,
    json: JsonToo = False,
) -> None:
    """Files that no snapshot of a place names any more.

    What was written within the grace time stays, for its snapshot may be under way.
    """
    from qmtl.foundation.clock import SystemClock
    from qmtl.foundation.times import SECOND, to_seconds
    from qmtl.interfaces.cli.store import size
    from qmtl.runtime.io.snapshots.addresses import place_named
    from qmtl.runtime.io.snapshots.upkeep import find_garbage, remove_garbage

    session = session_of(ctx)
    place = place_named(where)
    limits = {"now": SystemClock().now(), "grace": int(to_seconds(grace, name="--grace") * SECOND)}
    found = find_garbage(place, **limits)
    gone = remove_garbage(place, found, **limits) if delete else 0
    what = f"{counted(len(found.old), 'file')} of {size(found.bytes)} that no snapshot names"
    session.show(
        f"{place.location}: {what}" + (f", {gone:,} deleted" if delete else "; --delete removes them"),
        *(entry.name for entry in found.old),
        f"{counted(found.young, 'file')} of the last {grace} stay",
    )
    names = [entry.name for entry in found.old]
    session.emit({"place": place.location, "files": names, "bytes": found.bytes, "deleted": gone})


def _json(manifest: Manifest) -> dict[str, Any]:
    from qmtl.foundation.times import iso

    return {
        "number": manifest.number,
        "as_of": manifest.as_of,
        "as_of_iso": iso(manifest.as_of),
        "fingerprint": manifest.fingerprint,
        "rows": manifest.rows,
        "series": [
            {"series": str(one.series), "rows": one.rows, "fingerprint": one.fingerprint}
            for one in manifest.series
        ],
    }
