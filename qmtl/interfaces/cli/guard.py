"""How a command ends: the exit code of each kind of error, and what a person reads then."""

from __future__ import annotations

import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import Any, TextIO

import typer

from qmtl.foundation.errors import (
    ConformancePipelineError,
    CoordinatorUnavailableError,
    GovernanceError,
    IncompatibleSchemaError,
    InvalidRequestError,
    LeaseError,
    LookAheadError,
    MissingDataError,
    MissingDependencyError,
    ProofError,
    QmtlError,
    RegistryUnavailableError,
    SchemaRegistryError,
    SchemaValidationError,
    SeamlessSLAExceeded,
    SourceUnavailableError,
    StoreCorruptError,
    StoreError,
    StrategyError,
)
from qmtl.foundation.local_paths import local_path
from qmtl.interfaces.cli.disk import disk_error
from qmtl.interfaces.cli.session import Log, Session
from qmtl.interfaces.cli.wording import in_words_of

# The first class that fits decides.
EXIT_CODES: tuple[tuple[type[BaseException], int], ...] = (
    (InvalidRequestError, 2),
    (StrategyError, 2),
    (LookAheadError, 2),
    (MissingDataError, 3),
    (ConformancePipelineError, 4),
    (ProofError, 4),
    (SeamlessSLAExceeded, 5),
    (SchemaValidationError, 6),
    (RegistryUnavailableError, 7),
    (SchemaRegistryError, 6),
    (GovernanceError, 6),
    (SourceUnavailableError, 7),
    (MissingDependencyError, 7),
    (StoreError, 7),
    (LeaseError, 7),
    (CoordinatorUnavailableError, 7),
)
DEFECT = 1
# As shells report a command that a signal ended: 128 + SIGINT, 128 + SIGPIPE.
INTERRUPTED = 130
PIPE_CLOSED = 141

Command = Callable[..., None]


def exit_code(error: BaseException) -> int:
    """The exit code of an error; what is in no class of `EXIT_CODES` is a defect of ours."""
    return next((code for kind, code in EXIT_CODES if isinstance(error, kind)), DEFECT)


def guarded(command: Command) -> Command:
    """The command, with each of its errors turned into a message and an exit code."""

    @wraps(command)
    def run(*args: Any, **options: Any) -> None:
        session: Session = options["ctx"].obj
        session.options = signature(command).parameters

        def work() -> None:
            _refuse_addresses([session.config, session.store, *options.values()])
            command(*args, **options)

        try:
            with warnings.catch_warnings(), session.logging():
                _show_warnings(session)
                code = _run(session, work)
            sys.stdout.flush()
        except BrokenPipeError:
            _drop_stdout()
            code = PIPE_CLOSED
        except OSError as error:  # of stdout: all that the command itself meets was reported before
            _drop_stdout()
            code = report_error(session, disk_error(error, Path("standard output")) or error)
        if code:
            raise typer.Exit(code)

    return run


def _refuse_addresses(values: Iterable[object]) -> None:
    """No command takes s3://... for the name of a file or folder, wherever it is given."""
    for value in values:
        for one in value if isinstance(value, list | tuple) else [value]:
            if isinstance(one, Path):
                local_path(one, "what is named here")


def _run(session: Session, work: Callable[[], None]) -> int:
    try:
        work()
    except typer.Exit as ended:
        return ended.exit_code
    except KeyboardInterrupt:
        session.note("interrupted; what was committed stays, and the next run resumes from there")
        return INTERRUPTED
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever else goes wrong is a defect of ours, and is reported as one
        error = disk_error(error) or error
        code = report_error(session, error)
        try:
            session.emit({"error": error_json(session, error)})
            sys.stdout.flush()
        except BrokenPipeError:
            raise
        except OSError:  # stdout cannot be written, which may be the very error that stands on stderr now
            _drop_stdout()
        return code
    return 0


def report_error(session: Session, error: Exception) -> int:
    """Say on stderr what went wrong and what to do next; the exit code that belongs to it."""
    code = exit_code(error)
    if session.log is Log.json:
        facts = {"event": "cli.error", "error": error_json(session, error)}
        logging.getLogger("qmtl.cli").error(
            str(error), extra=facts, exc_info=error if session.verbose or code == DEFECT else None
        )
        return code
    if session.verbose:
        traceback.print_exception(error)
    session.note(
        _defect_text(session, error)
        if code == DEFECT
        else f"error: {in_words_of(session.options, str(error))}"
    )
    for note in getattr(error, "__notes__", ()):
        session.note(f"\n{note}")
    return code


def _defect_text(session: Session, error: Exception) -> str:
    what = f"{type(error).__name__}: {' '.join(str(error).split())}"
    how = (
        "please report the lines above" if session.verbose else "'qmtl -v ...' shows where; please report it"
    )
    return f"this is a defect of qmtl, not of your input: {what} ({how})"


def error_json(session: Session, error: Exception) -> dict[str, Any]:
    """The facts of an error as JSON values; times are ISO 8601 UTC."""
    facts: dict[str, Any] = {"kind": type(error).__name__, "exit_code": exit_code(error)}
    if not isinstance(error, QmtlError):
        return facts | {"message": str(error)}
    words = {"message": error.what, "why": error.why, "next_step": error.next_step}
    facts |= {name: text and in_words_of(session.options, text) for name, text in words.items()}
    facts |= {"series": error.series, "range": None if error.span is None else _ends(error.span)}
    if error.others:
        facts["others"] = [error_json(session, other) for other in error.others]
    if isinstance(error, MissingDataError):
        facts["holes"] = {name: [_ends(span) for span in cells] for name, cells in error.holes.items()}
    elif isinstance(error, ConformancePipelineError):
        facts["report"] = None if error.report is None else error.report.to_json()
    elif isinstance(error, ProofError):
        facts["differences"] = list(error.differences)
    elif isinstance(error, SeamlessSLAExceeded):
        names = ("phase", "budget_s", "elapsed_s", "limit", "observed", "ledger")
        facts |= {name: getattr(error, name) for name in names}
    elif isinstance(error, SourceUnavailableError):
        facts["source"] = error.source
    elif isinstance(error, LeaseError):
        facts["lease_key"] = error.lease_key
    elif isinstance(error, StoreError):
        facts["store"] = error.path
        if isinstance(error, StoreCorruptError):
            facts["damaged"] = None if error.damaged is None else [_ends(span) for span in error.damaged]
    elif isinstance(error, SchemaRegistryError):
        facts["code"] = error.code
        if isinstance(error, IncompatibleSchemaError):
            from qmtl.interfaces.cli.schema_showing import comparisons_json

            facts["comparisons"] = comparisons_json(error.comparisons)
    elif isinstance(error, SchemaValidationError):
        facts |= {"subject": error.subject, "mode": error.mode, "problems": list(map(str, error.problems))}
    elif isinstance(error, GovernanceError):
        known = ("subject", "version", "evidence", "reason", "problems")
        facts |= {name: getattr(error, name) for name in known if hasattr(error, name)}
    return facts


def _ends(span: tuple[int, int]) -> list[str]:
    from qmtl.foundation.times import iso

    return [iso(span[0]), iso(span[1])]


def _show_warnings(session: Session) -> None:
    """Our own warnings are notes of one line; those of libraries are shown with -v only."""

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if session.verbose or category.__module__.startswith("qmtl."):
            session.note(f"note: {message}")

    warnings.simplefilter("default", UserWarning)
    warnings.showwarning = show


def _drop_stdout() -> None:
    # The reader has gone, or the disk is full; what is still buffered must not raise once more when Python
    # flushes at exit.
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):  # stdout is no file: nothing is flushed into a pipe then
        return
