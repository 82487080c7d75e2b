"""Vendors and feeds are foreign code: their errors are reported as theirs, and closing them hides none."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from qmtl.foundation.observability.log import backfill_log
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import iso

T = TypeVar("T")


def is_cancelled() -> bool:
    """Whether somebody cancels the running task; else a `CancelledError` is the foreign code's own."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def error_text(cause: BaseException) -> str:
    """Class and message of an error, for those who do not see it itself; of a group, those of each."""
    if isinstance(cause, BaseExceptionGroup):
        return f"{type(cause).__name__} of {'; '.join(map(error_text, cause.exceptions))}"
    try:
        return f"{type(cause).__name__}: {cause}"
    except Exception as error:  # noqa: BLE001 - a message of foreign code may fail like any other of its methods
        return f"{type(cause).__name__}, whose message cannot be read ({type(error).__name__})"


def log_facts(series: SeriesId, span: Span) -> dict[str, str]:
    """The fields of every event about a series: see `LOG_FIELDS`."""
    return {
        "node_id": str(series),
        "interval": str(series.timeframe),
        "start": iso(span.start),
        "end": iso(span.end),
    }


async def close(source: Any) -> None:
    """Close a source that can be closed: one with `aclose()`, which need not be asynchronous."""
    closing = getattr(source, "aclose", None)
    if closing is not None:
        result = closing()
        if inspect.isawaitable(result):
            await result


async def closed_or_logged(source: Any, /, **facts: str) -> SystemExit | KeyboardInterrupt | None:
    """`close`, where a failure no longer matters: it is logged, with `facts`, and not raised.

    `SystemExit` and `KeyboardInterrupt` are returned: the caller knows whether they can be raised.
    """
    try:
        await close(source)
    except BaseException as cause:  # whatever it is, it came too late to matter
        if isinstance(cause, asyncio.CancelledError) and is_cancelled():
            raise
        backfill_log.warning("backfill.close_failed", **facts, error=error_text(cause))
        if isinstance(cause, SystemExit | KeyboardInterrupt):
            return cause
    return None


@asynccontextmanager
async def closing(source: AsyncIterator[T], /, **facts: str) -> AsyncIterator[AsyncIterator[T]]:
    """Close a foreign iterator at the end, if it can be closed: a generator can, others need not.

    The first error is the one that is raised. One of the closing is logged as `backfill.close_failed`.
    """
    try:
        yield source
    except BaseException:
        await closed_or_logged(source, **facts)
        raise
    leave = await closed_or_logged(source, **facts)
    if leave is not None:
        raise leave
