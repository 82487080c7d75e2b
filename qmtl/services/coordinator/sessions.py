"""Sessions of workers: each is a lifetime that its worker renews, and all that it holds goes with it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

from qmtl.foundation.clock import Clock
from qmtl.services.coordinator.guesses import Guesses
from qmtl.services.coordinator.json_entries import all_of, as_json, contended
from qmtl.services.coordinator.key_values import Conflict, Entry, KeyValues, Put, UnknownLifetimeError

_TRIES = 12
# A lifetime that was renewed this part of it ago is not renewed by a claim.
_FRESH = 0.25

# Keys. A session goes with its lifetime; its shadow stays until the sweep has seen that it ended.
SESSIONS, SHADOWS = "sessions/", "shadows/"


class Session(NamedTuple):
    """A worker's session: the number of its lifetime as text, and the seconds of that."""

    id: str
    ttl_s: int


class SessionStatus(NamedTuple):
    session: Session
    expires_in_s: float


class Sessions:
    """guesses: of all keys, shared with those who expect a session in their commits."""

    def __init__(self, keys: KeyValues, clock: Clock, guesses: Guesses) -> None:
        self._keys = keys
        self._clock = clock
        self._guesses = guesses
        # Of sessions that were renewed here: when, by the monotonic clock.
        self._kept_at: dict[str, float] = {}

    async def begun(self, worker: str, ttl_s: int) -> SessionStatus:
        """That of the worker, renewed if need be, or a new one."""
        for _ in range(_TRIES):
            session = self.of(worker)
            if session is not None:
                status = await self.kept_alive(worker, session)
                if status is not None:
                    return status
            began = self._clock.monotonic()
            lifetime = await self._keys.begin_lifetime(ttl_s)
            session = Session(f"{lifetime.number:x}", lifetime.seconds)
            entry = as_json({"id": session.id, "ttl_s": session.ttl_s})
            changes: dict[str, Put | None] = {
                SESSIONS + worker: Put(entry, lifetime.number),
                SHADOWS + session.id: Put(as_json({"worker": worker})),
            }
            try:
                outcome = await self._keys.commit({SESSIONS + worker: 0}, changes)
            except UnknownLifetimeError:
                continue  # it ended before it was used
            if isinstance(outcome, Conflict):
                self._guesses.correct(outcome.current)
                await self._keys.end_lifetime(lifetime.number)
                continue
            self._guesses.wrote(changes, outcome.revision)
            self._kept_at[session.id] = began
            return self._status(session)
        raise contended(self._keys, _TRIES)

    def of(self, worker: str) -> Session | None:
        """As it is guessed to be."""
        entry = self._guesses.entry(SESSIONS + worker)
        return None if entry is None else Session(**json.loads(entry.value))

    def expected(self, worker: str) -> dict[str, int]:
        """What a commit expects that rests on the session of this worker."""
        return self._guesses.revisions([SESSIONS + worker])

    def correct(self, current: Mapping[str, Entry | None]) -> None:
        """Such a commit has been refused, for so it is."""
        self._guesses.correct({key: entry for key, entry in current.items() if key.startswith(SESSIONS)})

    async def kept_alive(self, worker: str, session: Session) -> SessionStatus | None:
        """The session, whose lifetime was renewed lately or is now; None where it has ended."""
        kept_at, now = self._kept_at.get(session.id), self._clock.monotonic()
        if kept_at is None or now - kept_at > session.ttl_s * _FRESH:
            if not await self._keys.keep_alive(int(session.id, 16)):
                self._guesses.forget(SESSIONS + worker)
                self._kept_at.pop(session.id, None)
                return None
            self._kept_at[session.id] = now
        return self._status(session)

    def _status(self, session: Session) -> SessionStatus:
        since = self._clock.monotonic() - self._kept_at[session.id]
        return SessionStatus(session, max(0.0, session.ttl_s - since))

    async def living(self) -> dict[str, Session]:
        """The sessions that live, by worker."""
        return {worker: Session(**entry) for worker, entry, _ in await all_of(self._keys, SESSIONS)}

    async def sweep(self, *expire: Callable[[str], Awaitable[None]]) -> None:
        """Find sessions that have ended, and hand each to all of `expire`, which free what it held."""
        shadows = await all_of(self._keys, SHADOWS)
        living = {session.id for session in (await self.living()).values()}
        for session, _, revision in shadows:
            if session in living:
                continue
            for free in expire:
                await free(session)
            await self._keys.commit({SHADOWS + session: revision}, {SHADOWS + session: None})
        # Another coordinator may have swept first. A session that is forgotten here is only renewed anew.
        self._kept_at = {session: at for session, at in self._kept_at.items() if session in living}
