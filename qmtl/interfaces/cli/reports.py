"""`qmtl reports`: what was found in the data, and what somebody has looked at and accepted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from qmtl.foundation.words import counted
from qmtl.interfaces.cli.arguments import Series
from qmtl.interfaces.cli.session import JsonToo, instant, session_of

if TYPE_CHECKING:
    from qmtl.foundation.series import SeriesId
    from qmtl.foundation.timeline import Span
    from qmtl.runtime.io.store.embedded import EmbeddedStore


def list_reports(
    ctx: typer.Context,
    series: Annotated[str | None, typer.Argument(metavar="SERIES", help="Of this series only.")] = None,
    json: JsonToo = False,
) -> None:
    """All archived reports, newest first."""
    from qmtl.foundation.series import SeriesId
    from qmtl.foundation.times import iso
    from qmtl.interfaces.cli.tables import Rows

    session = session_of(ctx)
    with session.open_store(read_only=True) as store:
        archived = store.reports(None if series is None else SeriesId.parse(series))
    lines = [
        {
            "number": one["number"],
            "series": one["series"],
            "archived_at": iso(one["archived_at"]),
            **{key: one["report"][key] for key in ("address", "span", "errors", "warnings")},
            "rules": [finding["rule"] for finding in one["report"]["findings"]],
        }
        for one in archived
    ]
    shown = ("number", "archived_at", "series", "errors", "warnings")
    if lines:
        session.show(
            Rows(
                (*shown, "rules"),
                ([*(one[key] for key in shown), ", ".join(one["rules"])] for one in lines),
                prose=("rules",),
            )
        )
    else:
        session.show("no report is archived")
    session.emit(lines)


def show(
    ctx: typer.Context,
    address: Annotated[
        str,
        typer.Argument(metavar="ADDRESS", help="qmtl://observability/seamless/NODE, or the node id itself."),
    ],
    json: JsonToo = False,
) -> None:
    """The newest report of a series."""
    from qmtl.foundation.errors import InvalidRequestError
    from qmtl.foundation.series import SeriesId
    from qmtl.interfaces.cli.showing import facts_text, findings_table

    session = session_of(ctx)
    series = SeriesId.from_address(address) if address.startswith("qmtl:") else SeriesId.parse(address)
    with session.open_store(read_only=True) as store:
        report = store.newest_report(series)
    if report is None:
        raise InvalidRequestError(
            "no report is archived for this series", series=series, next_step="'qmtl reports list' names all"
        )
    session.show(facts_text(_lines(report)))
    if report["findings"]:
        session.show(findings_table(report["findings"], report["digest"]))
    session.emit(report)


def _lines(report: dict[str, Any]) -> list[tuple[str, str]]:
    from qmtl.interfaces.cli.showing import not_judged

    verdict = f"{counted(report['errors'], 'error')}, {counted(report['warnings'], 'warning')}"
    return [
        ("series", report["series"]),
        ("range", f"[{report['span']['start']}, {report['span']['end']})"),
        ("verdict", verdict if report["errors"] or report["warnings"] else "passes"),
        *map(not_judged, report["could_not_check"]),
        ("as of", str(report["as_of"])),
        ("fingerprint", report["fingerprint"]),
        ("rules", report["ruleset"]),
        ("schema", report["schema_id"]),
        ("address", report["address"]),
    ]


def accept(
    ctx: typer.Context,
    series: Series,
    rule: Annotated[
        list[str] | None, typer.Option(metavar="R", help="Of this rule only; may be repeated.")
    ] = None,
    start: Annotated[
        str | None, typer.Option(metavar="START", help="Without it, the range of the newest report.")
    ] = None,
    end: Annotated[str | None, typer.Option(metavar="END", help="Not included.")] = None,
    json: JsonToo = False,
) -> None:
    """Accept warnings, bar by bar, as they are now.

    A bar that changes later raises again. Errors cannot be accepted.
    """
    from qmtl.foundation.series import SeriesId
    from qmtl.foundation.times import iso
    from qmtl.interfaces.cli.tables import Rows

    session, name = session_of(ctx), SeriesId.parse(series)
    with session.provider(make=False) as provider:
        span = _range(provider.store, name, start, end)
        accepted = provider.accept(name, span.start, span.end, rules=rule or ())
    rows = [(rule, f"{found:,}", f"{new:,}") for rule, (found, new) in accepted.items()]
    session.show(
        Rows(("rule", "bars or spans", "newly accepted"), rows) if rows else f"no warnings in {span}"
    )
    session.emit(
        {
            "series": str(name),
            "start": iso(span.start),
            "end": iso(span.end),
            "accepted": [{"rule": rule, "found": f, "new": new} for rule, (f, new) in accepted.items()],
        }
    )


def _range(store: EmbeddedStore, series: SeriesId, start: str | None, end: str | None) -> Span:
    from qmtl.foundation.errors import InvalidRequestError
    from qmtl.foundation.timeline import Span
    from qmtl.foundation.times import iso, to_ns

    if start is not None and end is not None:
        first, last = to_ns(instant(start), name="--start"), to_ns(instant(end), name="--end")
        if first > last:
            raise InvalidRequestError(
                f"--start {iso(first)} comes after --end {iso(last)}",
                series=series,
                next_step="exchange them",
            )
        return Span(first, last)
    if start is not None or end is not None:
        raise InvalidRequestError(
            "--start and --end go together", series=series, next_step="give both, or none"
        )
    report = store.newest_report(series)
    if report is None:
        raise InvalidRequestError(
            "no report is archived for this series",
            series=series,
            next_step="name the range with --start and --end",
        )
    return Span(to_ns(report["span"]["start"]), to_ns(report["span"]["end"]))


def rules(ctx: typer.Context, json: JsonToo = False) -> None:
    """Every rule with its id, severity and meaning."""
    from qmtl.interfaces.cli.tables import Rows
    from qmtl.runtime.conformance.rules import RULES

    session = session_of(ctx)
    session.show(
        Rows(
            ("rule", "severity", "meaning"),
            ((rule.id, rule.severity, rule.meaning) for rule in RULES.values()),
            prose=("meaning",),
        )
    )
    session.emit([rule._asdict() for rule in RULES.values()])
