"""Asking once more, after a while: for questions that change nothing by being asked."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TypeVar

from qmtl.foundation.times import SECOND, to_ns
from qmtl.foundation.words import counted

T = TypeVar("T")

ATTEMPTS = 5
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0


@dataclass(frozen=True, slots=True)
class Again:
    """An error says: ask again. `after_s` is what the source asked for (Retry-After), in seconds."""

    after_s: float | None = None


class GaveUpError(Exception):
    """The last of `attempts` failed; its error is the cause."""

    def __init__(self, attempts: int) -> None:
        super().__init__(f"{counted(attempts, 'attempt')} failed")
        self.attempts = attempts


# Not stamina, which would fit otherwise: it tells of retries by hooks of the whole process only. Left alone,
# they print to standard output, which belongs to `--json`, and count in a registry that nobody chose.
async def retried(
    ask: Callable[[], Awaitable[T]],
    judge: Callable[[Exception], Again | None],
    on_retry: Callable[[Exception, float], None],
    *,
    attempts: int = ATTEMPTS,
) -> T:
    """The answer of `ask()`, asked up to `attempts` times.

    judge: what an error means; None lets it through at once.
    on_retry: called with the error and the seconds until the next attempt, before they pass.

    Pauses double from half a second, with jitter between half of it and the whole, so that processes which
    failed together do not come back together. What the source asks for comes on top of the jitter.
    Raises `GaveUpError` from the last error.
    """
    for attempt in range(attempts):
        try:
            return await ask()
        except Exception as error:  # which errors these may be, `judge` knows
            verdict = judge(error)
            if verdict is None:
                raise
            if attempt + 1 == attempts:
                raise GaveUpError(attempts) from error
            backoff = min(FIRST_PAUSE_S * 2.0**attempt, LONGEST_PAUSE_S) * random.uniform(0.5, 1.0)
            pause = (
                backoff if verdict.after_s is None else verdict.after_s + random.uniform(0.0, FIRST_PAUSE_S)
            )
            on_retry(error, pause)
            await asyncio.sleep(pause)
    raise AssertionError("attempts is at least one")


def retry_after(headers: Mapping[str, str] | None, now: int) -> float | None:
    """Seconds of a Retry-After header: a number, or a date (RFC 9110 §10.2.3)."""
    text = next((v for k, v in (headers or {}).items() if k.lower() == "retry-after"), None)
    if text is None:
        return None
    with suppress(ValueError):
        return max(0.0, float(text))
    try:
        return max(0.0, (to_ns(parsedate_to_datetime(text)) - now) / SECOND)
    except ValueError:
        return None
