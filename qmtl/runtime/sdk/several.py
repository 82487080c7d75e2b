"""The same work for several series at once: one bad series stops the others, or it does not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from qmtl.foundation.errors import InvalidRequestError, QmtlError, first_of
from qmtl.foundation.series import SeriesId

T = TypeVar("T")

# How many series are under way at once.
AT_ONCE = 8


def names_of(series: Iterable[str | SeriesId], *, face: str) -> list[str]:
    """The node ids, each once, in the order asked. face: the method that takes one series.

    Raises `InvalidRequestError` for what is no collection of node ids. Whether each can be read as one is
    for the work to find out.
    """
    if isinstance(series, str | SeriesId):
        raise InvalidRequestError(
            "this takes several series, and was given one",
            series=series,
            next_step=f"write [{str(series)!r}], or use {face}",
        )
    try:
        every = list(series)
    except TypeError:
        raise InvalidRequestError(
            f"{series!r} is no collection of series", next_step="give a list of node ids"
        ) from None
    for one in every:
        if not isinstance(one, str | SeriesId):
            raise InvalidRequestError(
                f"{one!r} is not a node id", next_step="give texts such as ohlcv:binance:BTC/USDT:1m"
            )
    return list(dict.fromkeys(map(str, every)))


async def for_each(
    names: Iterable[str], work: Callable[[str], Awaitable[T]], *, partial_ok: bool
) -> tuple[dict[str, T], dict[str, QmtlError]]:
    """The result of `work` per name, and with `partial_ok` the error of each that failed; in order.

    Without it the first error cancels the others, and is raised when they have come to their end; those that
    failed meanwhile stand in its `others`.
    """
    room = asyncio.Semaphore(AT_ONCE)
    errors: dict[str, QmtlError] = {}

    async def one(name: str) -> T | None:
        async with room:
            try:
                return await work(name)
            except QmtlError as error:
                if not partial_ok:
                    raise
                errors[name] = error
                return None

    try:
        async with asyncio.TaskGroup() as group:
            tasks = {name: group.create_task(one(name)) for name in names}
    except BaseExceptionGroup as several:
        known = [error for error in several.exceptions if isinstance(error, QmtlError)]
        # What is no error of ours is a defect, and comes first.
        raise first_of(known) if len(known) == len(several.exceptions) else _unknown(several) from None
    results = {name: task.result() for name, task in tasks.items() if name not in errors}
    return results, {name: errors[name] for name in tasks if name in errors}  # type: ignore[return-value]


def _unknown(several: BaseExceptionGroup[BaseException]) -> BaseException:
    return next(error for error in several.exceptions if not isinstance(error, QmtlError))
