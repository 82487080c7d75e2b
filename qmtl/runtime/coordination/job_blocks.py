"""How far a job is: the states of some hundred of its shards at a time, and the pure steps between them.

A shard of a job is queued, claimed by a worker, and in the end done or, after too many attempts, a violation.
Nothing here knows the time but by what it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, NamedTuple

# Shards of one block, which is stored as one value.
BLOCK = 200
_WHY = 500  # characters


class ShardState(StrEnum):
    QUEUED = "queued"
    CLAIMED = "claimed"
    DONE = "done"
    VIOLATION = "violation"


class Outcome(StrEnum):
    """How an attempt ends. AWAY: its source could not be reached. RELEASED: the worker leaves."""

    DONE = "done"
    FAILED = "failed"
    AWAY = "away"
    RELEASED = "released"


class Patience(NamedTuple):
    """After so many attempts in a row a shard is a violation.

    pauses: nobody tries it again for so long (s) after the first, second, ... of them; then as the last.
    """

    attempts: int
    pauses: tuple[float, ...]

    def pause_s(self, attempts: int) -> float:
        return self.pauses[min(attempts, len(self.pauses)) - 1]


# A shard that fails by itself is given up soon. That a source is away says nothing of the shard: the pauses
# are an hour in all.
PATIENCE = {
    Outcome.FAILED: Patience(5, (1.0, 2.0, 4.0, 8.0)),
    Outcome.AWAY: Patience(18, (5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0)),
}


class Claim(NamedTuple):
    """Who works on a shard. take_id: of the request that it was given to. since: seconds since 1970."""

    worker: str
    session: str
    take_id: str
    since: float


class Failures(NamedTuple):
    """Of a shard that has not been done since. not_before: when it may be tried again (s).

    attempts: that failed by themselves. away: in a row since then, for which its source was away.
    """

    attempts: int
    why: str
    not_before: float
    away: int = 0

    @property
    def in_all(self) -> int:
        return self.attempts + self.away


class Counts(NamedTuple):
    queued: int
    claimed: int
    done: int
    violations: int


@dataclass(frozen=True, slots=True)
class Block:
    """Shards of a job, each by its number within the block. `claims` are of the claimed ones."""

    states: tuple[ShardState, ...]
    claims: Mapping[int, Claim] = field(default_factory=dict)
    failures: Mapping[int, Failures] = field(default_factory=dict)

    @classmethod
    def new(cls, shards: int) -> Block:
        return cls((ShardState.QUEUED,) * shards)

    @property
    def is_final(self) -> bool:
        """Nothing is left to do, and nothing changes any more."""
        return not {ShardState.QUEUED, ShardState.CLAIMED} & set(self.states)

    @property
    def counts(self) -> Counts:
        return Counts(*(self.states.count(state) for state in ShardState))

    def away(self) -> Iterator[Failures]:
        """Of shards that are not final, those whose source was away when they were tried last."""
        return (
            failed
            for number, failed in self.failures.items()
            if failed.away and self.states[number] is not ShardState.VIOLATION
        )

    def violations(self) -> Iterator[tuple[int, Failures]]:
        return (
            (number, self.failures[number])
            for number, state in enumerate(self.states)
            if state is ShardState.VIOLATION
        )


class Free(NamedTuple):
    """Shards of a block that may be taken, by number. fresh: has never failed. again: may be tried again."""

    fresh: int | None
    again: int | None


def free(block: Block, may: Callable[[int], bool], *, now: float) -> Free:
    """The first fresh shard; and of those that failed and have rested, the one that waits longest."""
    queued = [number for number, state in enumerate(block.states) if state is ShardState.QUEUED]
    rested = [
        number
        for number in queued
        if number in block.failures and block.failures[number].not_before <= now and may(number)
    ]
    return Free(
        next((number for number in queued if number not in block.failures and may(number)), None),
        min(rested, key=lambda number: block.failures[number].not_before, default=None),
    )


def take(block: Block, number: int, claim: Claim) -> Block:
    """Claim a shard that is `free`."""
    return replace(_with(block, number, ShardState.CLAIMED), claims={**block.claims, number: claim})


def end(block: Block, number: int, take_id: str, outcome: Outcome, why: str, *, now: float) -> Block | None:
    """The block after an attempt; None if the shard is not held under `take_id`, and not done."""
    if block.states[number] is ShardState.DONE and outcome is Outcome.DONE:
        return block
    claim = block.claims.get(number)
    if claim is None or claim.take_id != take_id:
        return None
    return _freed(block, number, outcome, why, now)


def expire(block: Block, session: str, *, now: float) -> Block:
    """The worker of this session was not heard of in time: an attempt of each of its shards has failed."""
    for number, claim in block.claims.items():
        if claim.session == session:
            block = _freed(block, number, Outcome.FAILED, f"{claim.worker} was not heard of in time", now)
    return block


def _freed(block: Block, number: int, outcome: Outcome, why: str, now: float) -> Block:
    failures = dict(block.failures)
    state = ShardState.QUEUED
    match outcome:
        case Outcome.DONE:
            state = ShardState.DONE
            failures.pop(number, None)
        case Outcome.FAILED | Outcome.AWAY:
            before = failures.get(number, Failures(0, "", now))
            failed, away = before.attempts, before.away + 1
            if outcome is Outcome.FAILED:
                failed, away = before.attempts + 1, 0
            patience, in_a_row = PATIENCE[outcome], away or failed
            if in_a_row >= patience.attempts:
                state = ShardState.VIOLATION
            failures[number] = Failures(failed, why[:_WHY], now + patience.pause_s(in_a_row), away)
        case Outcome.RELEASED:
            pass
    claims = {one: claim for one, claim in block.claims.items() if one != number}
    return replace(_with(block, number, state), claims=claims, failures=failures)


def _with(block: Block, number: int, state: ShardState) -> Block:
    return replace(block, states=(*block.states[:number], state, *block.states[number + 1 :]))


# -- as JSON ----------------------------------------------------------------------------------------------

_LETTERS = {state.value[0]: state for state in ShardState}


def block_json(block: Block) -> dict[str, Any]:
    """JSON values; `block_of` reads them again."""
    facts: dict[str, Any] = {"states": "".join(state.value[0] for state in block.states)}
    for name, some in (("claims", block.claims), ("failures", block.failures)):
        if some:
            facts[name] = {str(number): list(one) for number, one in some.items()}
    return facts


def block_of(facts: Mapping[str, Any]) -> Block:
    """The block that `block_json` wrote."""
    return Block(
        tuple(_LETTERS[letter] for letter in facts["states"]),
        {int(number): Claim(*one) for number, one in facts.get("claims", {}).items()},
        {int(number): Failures(*one) for number, one in facts.get("failures", {}).items()},
    )


def sum_of(counts: Collection[Counts]) -> Counts:
    return Counts(*(sum(column) for column in zip(*counts, strict=True))) if counts else Counts(0, 0, 0, 0)
