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
    from qmtl.runtime.io.store.contract import Store


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
            # A report of an older version may lack something: it is shown with what is there.
            **{key: one["report"].get(key) for key in ("address", "span", "errors", "warnings")},
            "rules": [finding["rule"] for finding in one["report"].get("findings", ())],
        }
        for one in archived
    ]
    shown = ("number", "archived_at", "series", "errors", "warnings")
    if lines:
        session.show(
            Rows(
                (*shown, "rules"),
                (
                    [*("" if one[key] is None else one[key] for key in shown), ", ".join(one["rules"])]
                    for one in lines
                ),
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
    if report.get("findings"):
        session.show(findings_table(report["findings"], report.get("digest", {})))
    session.emit(report)


def _lines(report: dict[str, Any]) -> list[tuple[str, str]]:
    from qmtl.interfaces.cli.showing import not_judged

    def verdict() -> str:
        errors, warnings = report["errors"], report["warnings"]
        counts = f"{counted(errors, 'error')}, {counted(warnings, 'warning')}"
        return counts if errors or warnings else "passes"

    lines = (
        ("series", ("series",), lambda: report["series"]),
        ("range", ("span",), lambda: f"[{report['span']['start']}, {report['span']['end']})"),
        ("verdict", ("errors", "warnings"), verdict),
        ("as of", ("as_of",), lambda: str(report["as_of"])),
        ("fingerprint", ("fingerprint",), lambda: report["fingerprint"]),
        ("rules", ("ruleset",), lambda: report["ruleset"]),
        ("schema", ("schema_id",), lambda: report["schema_id"]),
        ("address", ("address",), lambda: report["address"]),
    )
    # A report of an older version may lack something: it is shown with what is there.
    stored = [(name, text()) for name, keys, text in lines if all(key in report for key in keys)]
    lacking = [name for name, keys, _ in lines if not all(key in report for key in keys)]
    return [
        *stored,
        *map(not_judged, report.get("could_not_check", ())),
        *([("not stored", ", ".join(lacking))] if lacking else []),
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
        Rows(("rule", "bars or spans", "newly accepted"), rows)
        if rows
        else f"no warnings{' of ' + ', '.join(rule) if rule else ''} in {span}"
    )
    session.emit(
        {
            "series": str(name),
            "start": iso(span.start),
            "end": iso(span.end),
            "accepted": [{"rule": rule, "found": f, "new": new} for rule, (f, new) in accepted.items()],
        }
    )


def _range(store: Store, series: SeriesId, start: str | None, end: str | None) -> Span:
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
    if report is None or "span" not in report:
        raise InvalidRequestError(
            "no report is archived for this series"
            if report is None
            else "the newest report of this series does not say its range",
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
