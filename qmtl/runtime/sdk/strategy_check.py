"""Whether a strategy can be made and called at all: found out before anything is read for it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from reprlib import repr as shortly
from typing import Any

from qmtl.foundation.errors import InvalidRequestError, QmtlError
from qmtl.runtime.replay.budget import OWN_FAILURES
from qmtl.runtime.sdk.strategy import Node, Strategy, StreamInput, decides, declared, nodes_of, weights_of

_METHODS = ("on_bar", "on_gap", "on_revision")


def check_strategy(strategy: Strategy) -> None:
    """Raise `InvalidRequestError` for what could not decide, or would not run when it is called."""
    name = type(strategy).__name__
    if not decides(strategy):
        raise InvalidRequestError(
            f"{name} has no on_bar(self, bar, portfolio), and no target",
            why="nothing in it decides what to hold",
            next_step="write one of them, such as target = pl.when(...).then(1.0).otherwise(0.0)",
        )
    _check_declared(strategy)
    for method in _METHODS:
        check_runs(getattr(strategy, method), f"{name}.{method}")
    for node in nodes_of(strategy):
        if callable(node.value):
            check_runs(node.value, f"the function of node {node.name!r} of {name}")
    weights_of(strategy)


def _check_declared(strategy: Strategy) -> None:
    """Inputs and nodes are known by the one name that each has in the class."""
    kind = type(strategy).__name__
    for name, of in vars(strategy).items():
        if isinstance(of, StreamInput | Node):
            raise InvalidRequestError(
                f"{name!r} is made for an instance of {kind}",
                why="a run looks for inputs and nodes in the class alone",
                next_step="write it below `class`; where it depends on parameters, in a function around it",
            )
    found = declared(strategy)
    inputs = {id(of) for of in found.values() if isinstance(of, StreamInput)}
    for name, of in found.items():
        other = getattr(of, "name", None)  # Python gives it as it makes a class
        if other != name:
            raise InvalidRequestError(
                f"{name!r} of {kind} "
                + ("was added to the class later" if other is None else f"has the name {other!r} as well"),
                why="an input or a node has the one name under which a class declares it",
                next_step="write it below `class`, and make another one for each name and each class",
            )
        if isinstance(of, Node) and id(of.source) not in inputs:
            raise InvalidRequestError(
                f"node {name!r} looks at an input that {kind} does not have",
                why="it is no attribute of the class, or a subclass has another one in its place",
                next_step="declare that input; with another input, declare its nodes anew",
            )


def check_runs(function: Any, named: str) -> None:
    """Raise `InvalidRequestError` unless a call runs it: not so for coroutines and generators."""
    if not callable(function):
        raise InvalidRequestError(
            f"{named} is {function!r}, and no function", next_step="write it as a method: def ...(self, ...)"
        )
    while isinstance(function, partial):
        function = function.func
    code = function if inspect.isroutine(function) else type(function).__call__
    if inspect.isgeneratorfunction(code) or inspect.isasyncgenfunction(code):
        kind, instead = "a generator", "write it without `yield`"
    elif inspect.iscoroutinefunction(code):
        kind, instead = "a coroutine", "write `def` in place of `async def`, and nothing that is awaited"
    else:
        return
    raise InvalidRequestError(
        f"{named} is {kind}",
        why="a call of it runs nothing: bars are delivered one after the other, and nobody waits for it",
        next_step=instead,
    )


def made(strategy: Callable[..., Any], parameters: Mapping[str, Any]) -> Any:
    """What it gives for parameters; whatever it raises is told as its own failure."""
    try:
        return strategy(**parameters)
    except QmtlError:
        raise
    except OWN_FAILURES as cause:  # whatever a user's __init__ raises is its own failure
        given = ", ".join(f"{name}={shortly(value)}" for name, value in parameters.items())
        named = getattr(strategy, "__name__", shortly(strategy))
        raise InvalidRequestError(
            f"{named}({given}) cannot be made",
            why=f"{type(cause).__name__}: {cause}",
            next_step="give an instance, or parameters that it takes",
        ) from cause
