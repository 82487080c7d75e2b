"""One question that could not be proved, and instances that may show why."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, NamedTuple

_MOST_CANDIDATES = 60


class Candidate(NamedTuple):
    """What stands at the place of a failure, and the value around it (at that place: the same)."""

    local: Any
    whole: Any


ABSENT = object()


@dataclass(frozen=True, slots=True)
class Failure:
    """What could not be proved.

    path: from where the question was asked.
    wants, may: the reader's and the writer's half of the sentence; `may` without a value stands as it is,
        else the value is appended.
    candidates: values to try; what the writer does not accept among them is sorted out later.
    unsure: why it could not be decided, should no candidate show it.
    by_rule: our own rule, which needs no instance.
    """

    rule: str
    wants: str
    reader: Any
    writer: Any
    candidates: Callable[[], Iterable[Candidate]]
    may: str = ""
    path: tuple[str, ...] = ()
    unsure: str = ""
    by_rule: bool = False

    def below(self, path: tuple[str, ...], build: Callable[[Any], Iterator[Any]]) -> Failure:
        """The same failure seen from the value around it, which `build` puts around a candidate."""

        def candidates() -> Iterator[Candidate]:
            for candidate in islice(self.candidates(), _MOST_CANDIDATES):
                for whole in islice(build(candidate.whole), 3):
                    yield Candidate(candidate.local, whole)

        return replace(self, path=(*path, *self.path), candidates=candidates)


def plainly(values: Callable[..., Iterable[Any]], *arguments: Any) -> Callable[[], Iterator[Candidate]]:
    """Candidates that stand at the very place of the failure: the `values` of `arguments`, when asked for."""
    return lambda: (Candidate(value, value) for value in values(*arguments))
