"""What a run may be given: each argument is looked at first, and refused with what to give instead."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from os import PathLike
from reprlib import repr as shortly
from typing import Any

from qmtl.foundation.arguments import check_kind, unusable
from qmtl.foundation.errors import InvalidRequestError
from qmtl.runtime.replay.orders import FillModel
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.sdk.strategy import Strategy
from qmtl.runtime.sdk.strategy_check import check_strategy, made
from qmtl.runtime.sdk.strategy_files import strategy_of_file
from qmtl.runtime.worlds.world import World


def check_places(world: object, data_preset: object, history_provider: object) -> None:
    """Where bars come from. Raises `InvalidRequestError`."""
    check_kind("world", world, World | str | PathLike, "the path of a world file")
    check_kind("data_preset", data_preset, str, "the id of a preset of the world")
    give = "a provider: qmtl.SeamlessDataProvider(store=...)"
    check_kind("history_provider", history_provider, SeamlessDataProvider, give)


def check_choice(name: str, value: object, known: Mapping[str, str | None]) -> None:
    """Raise `InvalidRequestError` for what is not known, and with its reason for what is not there yet."""
    why = known.get(value) if isinstance(value, str) else None
    if not isinstance(value, str) or value not in known or why is not None:
        usable = ", ".join(repr(choice) for choice, why in known.items() if why is None)
        raise InvalidRequestError(
            f"{name}={shortly(value)} cannot be used", why=why, next_step=f"use {usable}"
        )


def seed_of(seed: Any) -> int:
    """As an int. Raises `InvalidRequestError`."""
    try:
        number = -1 if isinstance(seed, bool) else operator.index(seed)
    except TypeError:
        number = -1
    if number < 0:
        raise unusable("seed", seed, "give a whole number from 0 on")
    return number


def model_of(fills: FillModel | None) -> FillModel:
    """The default where there is none. Raises `InvalidRequestError`."""
    check_kind("fills", fills, FillModel, "a model: qmtl.FillModel(fee_bps=5)")
    return FillModel() if fills is None else fills


def loaded(strategy: Strategy | type[Strategy] | str) -> Strategy:
    """The instance of a strategy. Raises `InvalidRequestError` for what is none, or cannot be called."""
    kind: Any = strategy_of_file(strategy) if isinstance(strategy, str) else strategy
    if isinstance(kind, type) and issubclass(kind, Strategy):
        kind = made(kind, {})
    if not isinstance(kind, Strategy):
        raise InvalidRequestError(
            f"{shortly(strategy)} is no strategy",
            next_step="give a subclass of qmtl.Strategy, or an instance of one",
        )
    check_strategy(kind)
    return kind


def loaded_sets(strategy: Callable[..., Any], parameters: object) -> list[Strategy]:
    """One for each set of parameters. Raises `InvalidRequestError`."""
    if not callable(strategy):
        raise unusable("strategy", strategy, "give a class, or a function that makes one of parameters")
    if isinstance(parameters, Mapping | str | bytes) or not isinstance(parameters, Iterable):
        raise unusable("parameters", parameters, 'give a list of sets: [{"fast": 5}, {"fast": 10}]')
    found = []
    for of in parameters:
        if not isinstance(of, Mapping) or not all(isinstance(name, str) for name in of):
            raise InvalidRequestError(
                f"{shortly(of)} is no set of parameters",
                next_step='give each set as keywords and their values: {"fast": 5}',
            )
        found.append(loaded(made(strategy, of)))
    return found
