"""`qmtl refresh`: ask the vendor again for bars that have an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from qmtl.interfaces.cli.arguments import End, Series, Start
from qmtl.interfaces.cli.session import JsonToo, instant, session_of

if TYPE_CHECKING:
    from qmtl.runtime.sdk.corrections import RefreshResult


def refresh(ctx: typer.Context, series: Series, start: Start, end: End = None, json: JsonToo = False) -> None:
    """Ask the vendor again for bars that have an answer.

    Changed bars are corrections: the new values win, the old ones stay readable with --as-of. A bar that the
    vendor no longer has is kept and named.
    """
    from qmtl.interfaces.cli.progress import Bars
    from qmtl.interfaces.cli.showing import facts_text, frame_text, rows_json

    session = session_of(ctx)
    with session.provider(make=False) as provider, Bars() as bars:
        result = provider.refresh(series, instant(start), instant(end), on_progress=bars.backfilled)
    parts = [facts_text(_lines(result))]
    if result.corrections.height:
        parts.append(frame_text(result.corrections))
    session.show(*parts)
    if session.json:
        session.emit({**result.to_json(), "changes": rows_json(result.corrections)})


def _lines(result: RefreshResult) -> list[tuple[str, str]]:
    from qmtl.foundation.times import iso
    from qmtl.runtime.sdk.outcome import first_spans

    count = result.states.grid.count
    by_change = dict(result.corrections.group_by("change", maintain_order=True).len().iter_rows())
    corrected = ", ".join(f"{n:,} {change}" for change, n in sorted(by_change.items())) or "none"
    lines = [
        ("series", str(result.series)),
        ("range", str(result.span)),
        ("asked again", f"{count(result.asked):,} bars, {count(result.answered):,} answered"),
        ("corrections", corrected),
    ]
    if result.unconfirmed:
        lines.append(
            (
                "unconfirmed",
                f"{first_spans(result.unconfirmed)}: the vendor no longer has these bars; they are kept. "
                "'qmtl retract' takes them away",
            )
        )
    if result.quarantined:
        rules = ", ".join(sorted({finding.rule for finding in result.findings}))
        lines.append(
            ("quarantined", f"{result.quarantined:,} impossible rows ({rules}); the old ones are kept")
        )
    return [*lines, ("before", f"{iso(result.before)}; read it with --as-of {result.before}")]
