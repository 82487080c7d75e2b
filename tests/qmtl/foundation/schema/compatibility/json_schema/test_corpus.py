"""Ordinary evolutions: each is judged as people would judge it, and hardly any is left undecided."""

from __future__ import annotations

from typing import Any


def test_each_evolution_is_judged_as_by_hand(judge: Any, evolutions: list[Any]) -> None:
    wrong = []
    for name, old, new, new_reads_old, old_reads_new in evolutions:
        for direction, writer, reader, expected in (
            ("backward", old, new, new_reads_old),
            ("forward", new, old, old_reads_new),
        ):
            verdict = judge.compare(writer, reader)
            decided = verdict.is_compatible or any(not problem.undecided for problem in verdict.problems)
            if decided and verdict.is_compatible is not expected:
                wrong.append((name, direction, expected, verdict))
    assert wrong == []


def test_less_than_one_in_twenty_is_undecided(judge: Any, evolutions: list[Any]) -> None:
    undecided = [
        (name, problem.message)
        for name, old, new, _, _ in evolutions
        for writer, reader in ((old, new), (new, old))
        for problem in judge.compare(writer, reader).problems
        if problem.undecided
    ]
    pairs = 2 * len(evolutions)
    print(f"{len(undecided)} of {pairs} ordinary pairs are undecided: {undecided}")  # noqa: T201
    assert pairs >= 120
    assert len({name for name, _ in undecided}) < pairs / 20
