"""`qmtl commits`: the points in time that a series can be read at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from qmtl.foundation.words import counted
from qmtl.interfaces.cli.arguments import Series
from qmtl.interfaces.cli.session import JsonToo, session_of

if TYPE_CHECKING:
    from qmtl.foundation.timeline import Span


def commits(
    ctx: typer.Context,
    series: Series,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="The newest N on a terminal.")] = 20,
    json: JsonToo = False,
) -> None:
    """The commits of a series, newest first.

    --as-of reads what each of them left behind; --json lists all.
    """
    from qmtl.foundation.series import SeriesId
    from qmtl.foundation.times import iso
    from qmtl.interfaces.cli.known import check_known
    from qmtl.interfaces.cli.showing import rows_json
    from qmtl.interfaces.cli.tables import Rows
    from qmtl.runtime.sdk.corrections import commits_frame

    session = session_of(ctx)
    name = SeriesId.parse(series)
    with session.open_store(read_only=True) as store:
        check_known(store, name)
        known = store.commits(name)
    if known:
        shown = [
            (str(one.as_of), iso(one.as_of), one.kind, _range(one.span), one.reason or "") for one in known
        ]
        session.show(
            Rows(("--as-of", "committed", "kind", "range", "reason"), shown[::-1][:limit], ("reason",))
        )
        if len(shown) > limit:
            session.show(
                f"... {counted(len(shown) - limit, 'earlier commit')}; --limit {len(shown)} shows all"
            )
    else:
        session.show(f"{name}: all commits are older than the retention")
    if session.json:
        session.emit({"series": str(name), "commits": rows_json(commits_frame(known))})


def _range(span: Span) -> str:
    from qmtl.runtime.io.store.values import ALL_TIME

    if span.is_empty:
        return "no bar"
    return "the whole series" if span == ALL_TIME else str(span)
