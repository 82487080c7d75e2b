"""Leases kept in key values: each step reads, decides, and changes what it read, or nothing.

What was read last is remembered as a guess: a step is decided on guesses, and committed only where they are
all true; else the truth comes with the refusal, and the step is decided again. So any number of coordinators
may stand before one database, and one of them may be replaced at any time.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

from qmtl.foundation.clock import Clock
from qmtl.foundation.leases import LeaseKey, LeaseState, ShardProgress
from qmtl.foundation.times import SECOND
from qmtl.runtime.coordination.lease_keeping import (
    Claimant,
    Decision,
    Kept,
    Transition,
    decide_claim,
    decide_completion,
    decide_failure,
    decide_renewal,
    decide_sweep,
)
from qmtl.runtime.coordination.lease_records import COMPLETED_S, ShardRecord, record_json, record_of
from qmtl.runtime.coordination.shard_leases import Claimed, ShardRequest
from qmtl.services.coordinator.clocks import Clocks
from qmtl.services.coordinator.guesses import Guesses
from qmtl.services.coordinator.history import History, lease_step
from qmtl.services.coordinator.json_entries import all_of, as_json, contended
from qmtl.services.coordinator.key_values import Conflict, KeyValues, Put, UnknownLifetimeError
from qmtl.services.coordinator.sessions import SESSIONS, Session, Sessions, SessionStatus
from qmtl.services.coordinator.shared_lifetimes import SharedLifetimes

# Each failed commit means that somebody else's has succeeded, so that many in a row are not to be expected.
_TRIES = 12

# Keys.
SHARDS, ENDED = "shards/", "ended/"


class Claims(NamedTuple):
    """What a claim is answered, under which session. has_ended: it has ended before, and gets nothing."""

    answers: list[Claimed]
    status: SessionStatus
    has_ended: bool


class Renewal(NamedTuple):
    """lost: what the worker does not hold any more. status: of its session; None where it has none."""

    lost: list[LeaseKey]
    status: SessionStatus | None


@dataclass(frozen=True)
class _Outcome:
    decision: Decision
    kept: Kept


class _TooManyHoldersError(Exception):
    """The shards and the sessions of those who hold them are more than one commit may rest on."""


class LeaseService:
    """Many may serve one database. `on_transition` hears of every step that was committed here.

    on_apart: of coordinators whose clocks are apart from this one, see `Clocks`.
    """

    def __init__(
        self,
        keys: KeyValues,
        clock: Clock,
        on_transition: Callable[[Transition], None] = lambda _: None,
        on_apart: Callable[[str, int], None] = lambda *_: None,
    ) -> None:
        self._keys = keys
        self._clock = clock
        self._on_transition = on_transition
        self._guesses = Guesses()
        self._lifetimes = SharedLifetimes(keys, clock)
        self.sessions = Sessions(keys, clock, self._guesses)
        self.history = History(keys, clock, self._lifetimes)
        self.clocks = Clocks(keys, clock, on_apart)
        # Of one commit: beside the shards the own session, and a claim; at worst the session of each holder.
        self.most_shards = keys.most_keys - 2
        self._always_fit = self.most_shards // 2

    # -- what workers ask -------------------------------------------------------------------------------

    async def claim(
        self, worker: str, claim_id: str, requests: Sequence[ShardRequest], *, ttl_s: int
    ) -> Claims:
        """Each request is answered, in their order, without waiting for anybody."""
        answers: list[Claimed] = []
        status = await self.sessions.begun(worker, ttl_s)
        while rest := requests[len(answers) :]:
            for _ in range(_TRIES):
                who = Claimant(worker, status.session.id, claim_id)
                try:
                    outcome = await self._claim(who, rest[: self.most_shards])
                except _TooManyHoldersError:
                    outcome = await self._claim(who, rest[: self._always_fit])
                if not outcome.decision.session_is_gone:
                    break
                status = await self.sessions.begun(worker, ttl_s)
            else:
                raise contended(self._keys, _TRIES)
            if outcome.decision.has_ended:
                return Claims([], status, has_ended=True)
            answers += outcome.decision.answers
        return Claims(answers, status, has_ended=False)

    async def _claim(self, who: Claimant, requests: Sequence[ShardRequest]) -> _Outcome:
        return await self._step(
            [request.key for request in requests],
            lambda kept: decide_claim(kept, who, requests, now=self._now()),
            workers=[who.worker],
            claim_id=who.claim_id,
        )

    async def renew(
        self, worker: str, claims: Mapping[LeaseKey, str], progress: ShardProgress | None
    ) -> Renewal:
        """Its session lives on. All of `claims` are renewed with the progress, or none if any is lost."""
        outcome = await self._step(
            list(claims),
            lambda kept: decide_renewal(kept, worker, claims, progress, now=self._now()),
            workers=[worker],
        )
        lost = list(outcome.decision.lost)
        session = self.sessions.of(worker)
        if session is None or outcome.decision.session_is_gone:
            return Renewal(lost, None)
        status = await self.sessions.kept_alive(worker, session)
        return Renewal(list(claims) if status is None else lost, status)

    async def complete(
        self, worker: str, claim_id: str, keys: Sequence[LeaseKey], *, as_of: int
    ) -> list[LeaseKey]:
        """Those that the claim does not hold; where there are any, nothing is completed."""
        outcome = await self._step(
            keys,
            lambda kept: decide_completion(kept, worker, claim_id, keys, as_of=as_of, now=self._now()),
            workers=[worker],
            ends=claim_id,
        )
        return list(outcome.decision.lost)

    async def fail(
        self, worker: str, claim_id: str, keys: Sequence[LeaseKey], *, why: str, is_away: bool = False
    ) -> None:
        """Frees what the claim holds of these; it is granted nothing more, even by what comes late."""
        for batch in _batches(keys, self._always_fit) or [[]]:
            await self._step(
                batch,
                lambda kept, batch=batch: decide_failure(  # type: ignore[misc]  # mypy infers no default
                    kept, worker, claim_id, batch, why=why, now=self._now(), is_away=is_away
                ),
                workers=[],
                ends=claim_id,
            )

    # -- what the coordinator does by itself ------------------------------------------------------------

    async def sweep(self, *more: Callable[[str], Awaitable[None]]) -> None:
        """Find sessions that have ended, and free what they held. more: what else frees what was held."""
        await self.sessions.sweep(self.expire, *more)

    async def expire(self, session: str) -> None:
        """Free what was held in a session that has ended."""
        found = [
            record
            for record in await self.records()
            if record.session == session and record.lease.state is LeaseState.HELD
        ]
        for batch in _batches(found, self._always_fit):
            await self._step(
                [record.lease.key for record in batch],
                lambda kept: decide_sweep(kept, now=self._now()),
                workers=[],
            )

    # -- what people ask --------------------------------------------------------------------------------

    async def records(self) -> list[ShardRecord]:
        """All that is remembered of any shard, in the order of the keys."""
        return [record_of(LeaseKey.parse(name), facts) for name, facts, _ in await all_of(self._keys, SHARDS)]

    async def page(self, *, after: str, most: int) -> list[ShardRecord]:
        """Some of `records`: those behind the lease key `after`."""
        found = await self._keys.page(SHARDS, after=SHARDS + after if after else "", most=most)
        return [_record(key, entry.value) for key, entry in found]

    async def record(self, key: LeaseKey) -> ShardRecord | None:
        outcome = await self._step([key], lambda _: Decision(), workers=[])
        return outcome.kept.records.get(key)

    async def workers(self) -> dict[str, Session]:
        """The workers whose sessions live."""
        return await self.sessions.living()

    def refuse_other(self, store_id: str) -> None:
        """Raise `InvalidRequestError` for a store that is not coordinated here: there is none."""

    async def check(self) -> None:
        """Raise `CoordinatorUnavailableError` if nothing can be committed now."""
        # It never is as expected, so that nothing is changed; but an etcd that is out of space refuses it,
        # since it would store something.
        await self._keys.commit({"format": -1}, {"format": Put(b"{}")})

    # -- steps ------------------------------------------------------------------------------------------

    async def _step(
        self,
        shards: Sequence[LeaseKey],
        decide: Callable[[Kept], Decision],
        *,
        workers: Sequence[str],
        claim_id: str | None = None,
        ends: str | None = None,
    ) -> _Outcome:
        """Decide, and change what was decided; both on what is stored, not on what was guessed.

        claim_id: whether it has ended is known to `decide`. ends: this claim ends, if anything is not lost.
        Raises `_TooManyHoldersError`, but never for `_always_fit` shards.
        """
        claims = [claim for claim in (claim_id, ends) if claim is not None]
        for _ in range(_TRIES):
            records = {
                key: _record(SHARDS + str(key), entry.value) for key in shards if (entry := self._entry(key))
            }
            held = {one.lease.holder or "" for one in records.values() if one.lease.state is LeaseState.HELD}
            names = sorted({*workers, *held})
            if len(shards) + len(names) + len(claims) > self._keys.most_keys:
                raise _TooManyHoldersError
            sessions = {name: session.id for name in names if (session := self.sessions.of(name))}
            ended = frozenset(claim for claim in claims if self._guesses.entry(ENDED + claim))
            kept = Kept(records, sessions, ended)
            decision = decide(kept)
            # Now, for guesses may change while a lifetime is begun.
            expected = self._guesses.revisions(
                [
                    *(SHARDS + str(key) for key in shards),
                    *(SESSIONS + name for name in names),
                    *(ENDED + claim for claim in claims),
                ]
            )
            try:
                changes = await self._changes(decision)
                if ends is not None and not decision.lost and ends not in ended:
                    changes[ENDED + ends] = Put(b"{}", await self._lifetimes.of(COMPLETED_S))
                trail = await self.history.entry([lease_step(one) for one in decision.transitions])
                outcome = await self._keys.commit(expected, changes | trail)
            except UnknownLifetimeError:
                self._lifetimes.forget()
                continue
            if isinstance(outcome, Conflict):
                self._guesses.correct(outcome.current)
                continue
            self._guesses.wrote(changes, outcome.revision)
            for transition in decision.transitions:
                self._on_transition(transition)
            return _Outcome(decision, kept)
        raise contended(self._keys, _TRIES)

    def _entry(self, key: LeaseKey) -> Any:
        return self._guesses.entry(SHARDS + str(key))

    async def _changes(self, decision: Decision) -> dict[str, Put | None]:
        changes: dict[str, Put | None] = {}
        for key, record in decision.changed.items():
            seconds = record.lifetime_s
            lifetime = None if seconds is None else await self._lifetimes.of(seconds)
            changes[SHARDS + str(key)] = Put(as_json(record_json(record)), lifetime)
        return changes

    def _now(self) -> float:
        return self._clock.now() / SECOND


def _batches(items: Sequence[Any], most: int) -> list[list[Any]]:
    rest = iter(items)
    return list(iter(lambda: list(islice(rest, most)), []))


def _record(name: str, value: bytes) -> ShardRecord:
    return record_of(LeaseKey.parse(name.removeprefix(SHARDS)), json.loads(value))
