"""Short strings that some expressions accept and others refuse, or the proof that there is none."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from qmtl.foundation.schema.compatibility.json_schema.regex_language.automaton import (
    Automaton,
    Positions,
    automaton,
)
from qmtl.foundation.schema.compatibility.json_schema.regex_language.characters import (
    TooManyCharactersError,
    alphabet,
)

_MOST_STATES = 20_000


class Words(NamedTuple):
    """Strings that were found, shortest first, and whether there is certainly none beside them.

    `none_exists` can be true only where nothing was found.
    """

    found: tuple[str, ...]
    none_exists: bool


class Wanted(NamedTuple):
    """Strings that each of `accept` finds something in and none of `refuse` does; lengths in characters."""

    accept: tuple[str, ...] = ()
    refuse: tuple[str, ...] = ()
    shortest: int = 0
    longest: int | None = None


def literally(text: str) -> str:
    """An expression for this very string."""
    return rf"\A{re.escape(text)}\Z"


@lru_cache(maxsize=4096)
def find_words(wanted: Wanted, limit: int = 6) -> Words:
    if wanted.longest is not None and wanted.longest < wanted.shortest:
        return Words((), none_exists=True)
    accept = [automaton(pattern) for pattern in wanted.accept]
    refuse = [automaton(pattern) for pattern in wanted.refuse]
    # A machine that is missing, or refuses too much, can still lead to strings, which `re` then confirms.
    proves = all(machine is not None and machine.exact for machine in refuse)
    machines = [machine for machine in accept if machine is not None]
    against = [machine for machine in refuse if machine is not None and machine.exact]
    search = _Search(machines, against, wanted.shortest, wanted.longest)
    found = []
    try:
        for text in search.run():
            if _fits(text, wanted):
                found.append(text)
            if len(found) == limit:
                break
    except TooManyCharactersError:
        return Words((), none_exists=False)
    return Words(tuple(found), none_exists=proves and search.complete and not search.met)


def _fits(text: str, wanted: Wanted) -> bool:
    try:
        return all(re.search(pattern, text) for pattern in wanted.accept) and not any(
            re.search(pattern, text) for pattern in wanted.refuse
        )
    except re.error:
        return False


class _Search:
    """Breadth first over what all machines are in after the same string."""

    def __init__(
        self, accept: Sequence[Automaton], refuse: Sequence[Automaton], shortest: int, longest: int | None
    ) -> None:
        self._accept, self._refuse = accept, refuse
        self._shortest, self._longest = shortest, longest
        self.complete = False
        self.met = False

    def run(self) -> Iterator[str]:
        machines = [*self._accept, *self._refuse]
        letters = alphabet(one for machine in machines for one in machine.characters())
        after: dict[tuple[tuple[Positions, ...], str], tuple[Positions, ...]] = {}
        start = tuple(machine.start_positions() for machine in machines)
        waiting = deque([(start, "")])
        seen = {(start, min(0, self._shortest))}
        while waiting:
            positions, text = waiting.popleft()
            if len(text) >= self._shortest and self._accepts(positions):
                self.met = True
                yield text
            if self._longest is not None and len(text) >= self._longest:
                continue
            for letter in letters:
                if (positions, letter) not in after:
                    after[positions, letter] = tuple(
                        machine.step(at, letter) for machine, at in zip(machines, positions, strict=True)
                    )
                reached = after[positions, letter]
                if not all(reached[: len(self._accept)]):
                    continue
                # Once it is long enough, a longer way to the same states finds nothing new.
                key = (reached, min(len(text) + 1, self._shortest))
                if key in seen:
                    continue
                if len(seen) >= _MOST_STATES:
                    return
                seen.add(key)
                waiting.append((reached, text + letter))
        self.complete = True

    def _accepts(self, positions: tuple[Positions, ...]) -> bool:
        accepting, refusing = positions[: len(self._accept)], positions[len(self._accept) :]
        return all(m.accepts(at) for m, at in zip(self._accept, accepting, strict=True)) and not any(
            m.accepts(at) for m, at in zip(self._refuse, refusing, strict=True)
        )
