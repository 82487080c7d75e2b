"""Contestants take turns in blocks: drift affects all alike, and what one leaves behind affects none."""

from __future__ import annotations

import gc
import resource
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager
from multiprocessing import get_context
from typing import NamedTuple, TypeAlias

import numpy as np

# A drift that is slower than a third of a case is shared by all of its contestants.
_BLOCKS = 3

Contestant: TypeAlias = Callable[[int], object]


class OwnTime(NamedTuple):
    """What a contestant returns that has taken its time itself: of a part of its round, or elsewhere."""

    seconds: float
    result: object = None


class Times(NamedTuple):
    """Seconds of each round, and page faults (without disk) of each round, in order."""

    seconds: tuple[float, ...]
    faults: tuple[int, ...]

    def percentile(self, percent: float) -> float:
        """Seconds that so many percent of the rounds did not pass."""
        return float(np.percentile(self.seconds, percent))


def calls_of(rounds: int, *, warm_up: int = 1) -> int:
    """How often `take_turns` calls each contestant; round numbers go from 0 to one less."""
    return rounds + len(_blocks(rounds)) * warm_up


def take_turns(
    rounds: int,
    contestants: Mapping[str, Contestant],
    *,
    warm_up: int = 1,
    keep: Collection[str] = (),
) -> dict[str, Times]:
    """Call each contestant with the number of its round, in blocks; `warm_up` rounds of each are not counted.

    Contestants meet only at the borders of blocks. Round by round, each would measure what the one before
    left behind: memory that it gave back, or a disk that is busy with what it wrote.

    What a call returns is let go after its time is taken, so that the next call may find its memory ready;
    those named in `keep` keep all that they return, as somebody who works with the answers does, and pay for
    fresh memory each time.
    """
    taken: dict[str, list[tuple[float, int]]] = {name: [] for name in contestants}
    called = dict.fromkeys(contestants, 0)
    kept: list[object] = []
    gc.collect()
    for block in _blocks(rounds):
        for name, contestant in contestants.items():
            for place in range(warm_up + block):
                faults = _faults()
                began = time.perf_counter()
                result = contestant(called[name])
                seconds = time.perf_counter() - began
                if isinstance(result, OwnTime):
                    seconds = result.seconds
                faults = _faults() - faults
                called[name] += 1
                if name in keep:
                    kept.append(result)
                del result
                if place >= warm_up:
                    taken[name].append((seconds, faults))
    return {
        name: Times(tuple(s for s, _ in pairs), tuple(f for _, f in pairs)) for name, pairs in taken.items()
    }


def take_turns_apart(
    rounds: int,
    makers: Mapping[str, Callable[[], AbstractContextManager[Contestant]]],
    *,
    keep: Collection[str] = (),
    answer_bytes: int,
) -> dict[str, Times]:
    """The same, each block in a process of its own, for work whose time is mostly that of getting memory.

    Whether large blocks of memory come from the system or from what was freed before depends on all that a
    process has done; so here it has done nothing else. Makers and what they hold must be picklable.

    answer_bytes: what one answer takes. Memory for all answers of a block is touched and given back before
    its first round: a guest whose host has yet to find that memory waits for the host, not for the system
    that hands it out.
    """
    parts: dict[str, list[Times]] = {name: [] for name in makers}
    for block in _blocks(rounds):
        for name, maker in makers.items():
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                parts[name].append(pool.submit(_alone, maker, block, name in keep, answer_bytes).result())
    return {
        name: Times(
            tuple(s for part in times for s in part.seconds), tuple(f for part in times for f in part.faults)
        )
        for name, times in parts.items()
    }


def _alone(
    maker: Callable[[], AbstractContextManager[Contestant]], rounds: int, is_kept: bool, answer_bytes: int
) -> Times:
    with maker() as contestant:
        # Twice: an answer leaves as much behind in buffers of libraries on its way.
        np.ones(2 * calls_of(rounds) * answer_bytes, dtype=np.uint8)
        return take_turns(rounds, {"it": contestant}, keep={"it"} if is_kept else ())["it"]


def _blocks(rounds: int) -> list[int]:
    """Rounds in each block: as even as can be, none empty."""
    return [len(part) for part in np.array_split(np.arange(rounds), min(_BLOCKS, rounds))]


def _faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
