"""Which shard of a job each worker was given last: who asks again is given the same one, and no other.

An answer may be lost, and a request may come a second time, or after the next one. What it took then would be
held by a worker that does not know of it, for as long as that worker lives.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from qmtl.services.coordinator.guesses import Guesses
from qmtl.services.coordinator.json_entries import as_json
from qmtl.services.coordinator.key_values import Conflict, Entry, KeyValues, Put

# Keys: by worker, and with the lifetime of its session.
_TAKES = "takes/"


class LastTakes:
    """What is told of a worker is a guess, until a commit that expects it has succeeded."""

    def __init__(self, keys: KeyValues) -> None:
        self._keys = keys
        self._guesses = Guesses()

    def of(self, worker: str) -> Mapping[str, Any] | None:
        """`{take_id, turn, job, number}`."""
        entry = self._guesses.entry(_TAKES + worker)
        return None if entry is None else json.loads(entry.value)

    def expected(self, worker: str) -> dict[str, int]:
        return self._guesses.revisions([_TAKES + worker])

    def change(self, worker: str, given: Mapping[str, Any], *, session: str) -> dict[str, Put | None]:
        """What is stored beside the shard that is given to it."""
        return {_TAKES + worker: Put(as_json(given), int(session, 16))}

    def wrote(self, changes: Mapping[str, Put | None], revision: int) -> None:
        self._guesses.wrote(changes, revision)

    def correct(self, current: Mapping[str, Entry | None]) -> None:
        """A commit has been refused, for so it is."""
        self._guesses.correct({key: entry for key, entry in current.items() if key.startswith(_TAKES)})

    def forget(self, worker: str) -> None:
        """Its session has ended."""
        self._guesses.forget(_TAKES + worker)

    async def checked(self, worker: str) -> Conflict | None:
        """What is, if it is not as guessed."""
        outcome = await self._keys.commit(self.expected(worker), {})
        return outcome if isinstance(outcome, Conflict) else None
