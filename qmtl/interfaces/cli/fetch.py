"""`qmtl fetch`: bars, all of them and checked, with a receipt."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qmtl.interfaces.cli.arguments import AsOf, End, Output, Series, Start, as_path
from qmtl.interfaces.cli.session import JsonToo, Session, instant, session_of

if TYPE_CHECKING:
    from qmtl.foundation.sla import SLAPolicy
    from qmtl.runtime.sdk.results import FetchResult


class Fill(StrEnum):
    flat = "flat"
    null = "null"


def fetch(
    ctx: typer.Context,
    series: Series,
    start: Start,
    end: End = None,
    strategy: Annotated[
        str, typer.Option(metavar="S", help="FAIL_FAST, AUTO_BACKFILL, PARTIAL_FILL or SEAMLESS.")
    ] = "SEAMLESS",
    sla: Annotated[
        Path | None,
        typer.Option(parser=as_path, metavar="FILE", help="YAML with budgets, such as 'total: 90s'."),
    ] = None,
    partial_ok: Annotated[
        bool, typer.Option("--partial-ok", help="Answer with holes and findings instead of failing.")
    ] = False,
    as_of: AsOf = None,
    fill: Annotated[Fill | None, typer.Option(help="Add a marked row for each bar without a trade.")] = None,
    output: Output = None,
    receipt: Annotated[
        Path | None, typer.Option(parser=as_path, metavar="FILE", help="Write the receipt there, as JSON.")
    ] = None,
    json: JsonToo = False,
) -> None:
    """Bars of SERIES in [START, END), checked, with a receipt."""
    from qmtl.interfaces.cli.bar_output import check_folder, check_target, write_frames
    from qmtl.interfaces.cli.outputs import check_apart
    from qmtl.interfaces.cli.progress import Bars

    session = session_of(ctx)
    check_apart({"--output": output, "--receipt": receipt, "--sla": sla})
    check_target(session, series, output)
    if receipt is not None:
        check_folder(session, series, receipt)
    policy = None if sla is None else read_sla(sla)
    with session.provider() as provider:
        with Bars() as bars:
            result = provider.fetch(
                series,
                instant(start),
                instant(end),
                strategy=strategy.upper(),
                sla=policy,
                partial_ok=partial_ok or None,
                as_of=instant(as_of),
                fill=None if fill is None else fill.value,
                on_progress=bars.backfilled,
            )
        if output is not None:
            write_frames(output, [result.frame])
        if receipt is not None:
            _write_receipt(receipt, result)
        _show(session, result, output)
        if not result.pending.done:
            session.note("asking for the holes now; Ctrl-C ends it, and what was committed stays")
            result.pending.wait()


def read_sla(path: Path) -> SLAPolicy:
    """The policy of a YAML file. Raises `InvalidRequestError` that names the file."""
    from qmtl.foundation.config_text import yaml_of
    from qmtl.foundation.errors import InvalidRequestError
    from qmtl.foundation.sla import SLAPolicy

    values, _ = yaml_of(path)
    if not isinstance(values, dict):
        raise InvalidRequestError(
            f"the SLA file {path} holds no keys", next_step="write for example 'total: 90s', a key a line"
        )
    try:
        return SLAPolicy.from_mapping(values)
    except InvalidRequestError as error:
        raise InvalidRequestError(
            f"{path}: {error.what}", why=error.why, next_step=error.next_step
        ) from error


def _write_receipt(path: Path, result: FetchResult) -> None:
    import json

    from qmtl.interfaces.cli.bar_output import replacing

    with replacing(path) as file:
        file.write(json.dumps(result.receipt.to_json(), indent=2, allow_nan=False).encode() + b"\n")


def _show(session: Session, result: FetchResult, output: Path | None) -> None:
    from qmtl.interfaces.cli.showing import facts_text, frame_text, report_parts, rows_json, states_json

    written = "" if output is None else f"\nwritten to {output}"
    session.show(
        frame_text(result.frame), facts_text(result.receipt.lines()) + written, *report_parts(result.report)
    )
    if session.json:
        document: dict[str, Any] = {
            "receipt": result.receipt.to_json(),
            "coverage": states_json(result.coverage),
            "report": result.report.to_json(),
            "rows": result.frame.height,
            "output": None if output is None else str(output),
        }
        if output is None:
            document["bars"] = rows_json(result.frame)
        session.emit(document)
