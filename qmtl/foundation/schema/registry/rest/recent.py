"""Versions that were asked for lately, and what is answered for them while the registry is down."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from qmtl.foundation.clock import Clock
from qmtl.foundation.errors import SchemaRegistryError
from qmtl.foundation.schema.registry.contract import Registered

# The subject comes first; the rest distinguishes questions about one subject.
Question: TypeAlias = tuple[str, *tuple[object, ...]]

_log = logging.getLogger("qmtl.registry")


class _Answer(NamedTuple):
    found: Registered
    # On the monotonic clock.
    until: float


class Recent:
    """Answers with a short life, at most `most` of them. Safe to use from any thread, without a lock."""

    def __init__(self, clock: Clock, *, life_s: float, most: int) -> None:
        self._clock = clock
        self._life_s = life_s
        self._most = most
        self._answers: dict[Question, _Answer] = {}

    def answer(self, question: Question, ask: Callable[[], Registered]) -> Registered:
        """The answer that is known, or what `ask()` gives.

        Where that fails because the registry is down, the last known answer, marked as stale. It has one
        more life: not every reader waits for a registry that is down.
        """
        answers = self._answers
        known = answers.get(question)
        if known is not None and self._clock.monotonic() < known.until:
            return known.found
        try:
            found = ask()
        except SchemaRegistryError as error:
            if known is None or error.status < 500:
                answers.pop(question, None)
                raise
            _log.warning("an answer that may have changed is given for %r: %s", question[0], error)
            found = known.found._replace(is_stale=True)
        if len(answers) >= self._most:
            answers.clear()
        answers[question] = _Answer(found, self._clock.monotonic() + self._life_s)
        return found

    def expire(self, subject: str | None = None) -> None:
        """Ask anew for what is known of a subject, or of all.

        Who is asking right now may have been answered before the change: that goes into the old dictionary.
        """
        self._answers = {
            question: answer._replace(until=-math.inf) if subject in (None, question[0]) else answer
            for question, answer in list(self._answers.items())
        }
