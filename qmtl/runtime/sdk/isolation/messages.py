"""What the process of a strategy says, as JSON and numbers: nothing in it can run code where it is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from qmtl.foundation import errors
from qmtl.foundation.errors import InvalidRequestError, LookAheadError, QmtlError, StrategyError
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.runtime.replay.equity import Marks
from qmtl.runtime.replay.orders import Fill, Order
from qmtl.runtime.replay.run import Outcome
from qmtl.runtime.sdk.strategy import StreamInput

# Of bytes behind the JSON of an outcome.
_COLUMNS = ("<i8", "<f8", "<f8")


def input_values(one: StreamInput) -> dict[str, Any]:
    """As JSON values. Raises `InvalidRequestError` for an input with a provider of its own."""
    if one.history_provider is not None:
        raise InvalidRequestError(
            f"input {one.name!r} has a provider of its own",
            why="the process of an isolated strategy reads no bars itself",
            next_step="leave it out, and give `history_provider=` or `world=` to the run",
        )
    return {
        "name": one.name,
        "series": [series.text for series in one.series],
        "preset": one.preset,
        "window": one.window,
        "allow_partial": one.allow_partial,
    }


def input_of(values: Mapping[str, Any]) -> StreamInput:
    """An input that declares the same."""
    return StreamInput(
        values["series"] or None,
        preset=values["preset"],
        window=values["window"],
        allow_partial=values["allow_partial"],
    )


def error_values(error: QmtlError, trace: str) -> dict[str, Any]:
    """As JSON values, with the traceback as text; a value of a node that JSON has not is told by its repr."""
    facts: dict[str, Any] = {"why": error.why, "next_step": error.next_step, "series": error.series}
    facts["span"] = None if error.span is None else list(error.span)
    if isinstance(error, StrategyError):
        plain = (str, int, float, bool, type(None))
        facts["bar_ts"] = error.bar_ts
        facts["nodes"] = {k: v if isinstance(v, plain) else repr(v) for k, v in error.nodes.items()}
    elif isinstance(error, LookAheadError):
        facts["tried"] = error.tried
    return {"kind": type(error).__name__, "what": error.what, "facts": facts, "trace": trace}


def error_of(values: Mapping[str, Any]) -> QmtlError:
    """The same error; one that has more facts than the process can tell is an `InvalidRequestError`."""
    kind = getattr(errors, values["kind"]) if values["kind"] in _KINDS else InvalidRequestError
    facts = dict(values["facts"])
    facts["span"] = facts["span"] and Span(*facts["span"])
    error: QmtlError = kind(values["what"], **facts)
    if values["trace"]:
        error.add_note(f"in the process of the strategy:\n{values['trace']}")
    return error


_KINDS = ("InvalidRequestError", "StrategyError", "LookAheadError")


def outcome_message(outcome: Outcome) -> bytes:
    """What a run came to, to the last bit: JSON of one line, and the columns of its marks behind it."""
    values = {
        "bars": outcome.bars,
        "fills": [[fill.series.text, int(fill.ts), *map(float, fill[2:])] for fill in outcome.fills],
        "open_orders": [[one.series.text, float(one.units), int(one.made)] for one in outcome.open_orders],
    }
    columns = (
        np.ascontiguousarray(column, dtype=form).tobytes()
        for column, form in zip(outcome.marks, _COLUMNS, strict=True)
    )
    return b"\n".join((json.dumps(values).encode(), b"".join(columns)))


def outcome_of(message: bytes) -> Outcome:
    """The same outcome."""
    text, _, numbers = message.partition(b"\n")
    values = json.loads(text)
    size = len(numbers) // len(_COLUMNS)
    columns = [
        np.frombuffer(numbers[place * size : (place + 1) * size], dtype=form)
        for place, form in enumerate(_COLUMNS)
    ]
    return Outcome(
        values["bars"],
        [Fill(SeriesId.parse(series), *rest) for series, *rest in values["fills"]],
        [Order(SeriesId.parse(series), units, made) for series, units, made in values["open_orders"]],
        Marks(*columns),
    )
