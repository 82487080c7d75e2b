"""What a call of a strategy left undone: it gave a coroutine or a generator, whose code nobody runs."""

from __future__ import annotations

import inspect
from types import CoroutineType, GeneratorType

from qmtl.foundation.errors import InvalidRequestError

# Of nearly all answers; to look closer at each would take longer than many nodes do.
_COMMON = {type(None), float, int, bool}


def refuse_undone(answer: object, named: str) -> None:
    """Raise `InvalidRequestError` for such an answer, which is closed: Python would warn of it."""
    if type(answer) in _COMMON:
        return
    if inspect.isawaitable(answer):
        kind, instead = "a coroutine", "call what is no `async def`, and await nothing"
    elif inspect.isgenerator(answer) or inspect.isasyncgen(answer):
        kind, instead = "a generator", "do it in a loop, without `yield`"
    else:
        return
    if isinstance(answer, CoroutineType | GeneratorType):
        answer.close()
    raise InvalidRequestError(
        f"{named} gave {kind}",
        why="nothing of it has run: bars are delivered one after the other, and nobody waits for it",
        next_step=instead,
    )
