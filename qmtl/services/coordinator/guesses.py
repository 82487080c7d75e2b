"""What a database was last seen to hold, as far as this process has seen it; what may be untrue by now."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping

from qmtl.services.coordinator.key_values import Entry, Put

# Some tens of MB.
_MOST = 50_000


class Guesses:
    """Of a key that was never seen the guess is that it is not there. The oldest guesses are forgotten."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._entries: OrderedDict[str, Entry] = OrderedDict()

    def entry(self, key: str) -> Entry | None:
        return self._entries.get(key)

    def revisions(self, keys: Iterable[str]) -> dict[str, int]:
        """What a commit that rests on these guesses expects."""
        return {key: entry.revision if (entry := self._entries.get(key)) else 0 for key in keys}

    def correct(self, current: Mapping[str, Entry | None]) -> None:
        """So it is."""
        for key, entry in current.items():
            if entry is None:
                self.forget(key)
            else:
                self._keep(key, entry)

    def wrote(self, changes: Mapping[str, Put | None], revision: int) -> None:
        """These changes were committed under that number."""
        for key, put in changes.items():
            if put is None:
                self.forget(key)
            else:
                self._keep(key, Entry(put.value, revision))

    def forget(self, key: str) -> None:
        self._entries.pop(key, None)

    def _keep(self, key: str, entry: Entry) -> None:
        before = self._entries.get(key)
        if before is not None and before.revision > entry.revision:
            return  # an answer that came late is older than what is known
        self._entries[key] = entry
        self._entries.move_to_end(key)
        while len(self._entries) > self._most:
            self._entries.popitem(last=False)
