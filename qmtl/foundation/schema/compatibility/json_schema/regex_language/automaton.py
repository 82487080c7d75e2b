"""A regular expression as a machine that reads a string character by character, as `re.search` would."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from qmtl.foundation.schema.compatibility.json_schema.regex_language.characters import (
    ANYTHING,
    NOT_A_NEWLINE,
    Characters,
)

_LARGEST = 4_000

# What may still follow: anything; nothing or one newline (after `$`); nothing (after `\Z`).
_FREE, _LAST_NEWLINE, _OVER = 0, 1, 2
_AT_END = {"AT_END": _LAST_NEWLINE, "AT_END_STRING": _OVER}
_AT_START = {"AT_BEGINNING", "AT_BEGINNING_STRING"}

Positions = frozenset[tuple[int, int]]


class TooLargeError(Exception):
    """The machine of an expression would have too many states."""


@dataclass(slots=True)
class Automaton:
    """States, and the moves between them. `exact` is False where it accepts more than the expression does
    (look-around, back-references, word boundaries, flags): it never accepts less."""

    moves: list[list[tuple[Characters, int]]] = field(default_factory=list)
    jumps: list[list[tuple[str, int]]] = field(default_factory=list)
    exact: bool = True
    start: int = 0
    accepting: int = 0

    def start_positions(self) -> Positions:
        return self._follow({(self.start, _FREE)}, at_start=True)

    def step(self, positions: Positions, character: str) -> Positions:
        reached: set[tuple[int, int]] = set()
        for state, rest in positions:
            if rest == _OVER or (rest == _LAST_NEWLINE and character != "\n"):
                continue
            after = _FREE if rest == _FREE else _OVER
            reached.update((target, after) for allowed, target in self.moves[state] if character in allowed)
        return self._follow(reached, at_start=False)

    def accepts(self, positions: Positions) -> bool:
        return any(state == self.accepting for state, _ in positions)

    def characters(self) -> Iterable[Characters]:
        return (allowed for moves in self.moves for allowed, _ in moves)

    def _follow(self, positions: set[tuple[int, int]], *, at_start: bool) -> Positions:
        waiting = list(positions)
        while waiting:
            state, rest = waiting.pop()
            for assertion, target in self.jumps[state]:
                if assertion in _AT_START and not at_start:
                    continue
                position = (target, max(rest, _AT_END.get(assertion, _FREE)))
                if position not in positions:
                    positions.add(position)
                    waiting.append(position)
        return frozenset(positions)

    def state(self) -> int:
        if len(self.moves) >= _LARGEST:
            raise TooLargeError
        self.moves.append([])
        self.jumps.append([])
        return len(self.moves) - 1

    def jump(self, source: int, target: int, assertion: str = "") -> None:
        self.jumps[source].append((assertion, target))


@lru_cache(maxsize=1024)
def automaton(pattern: str) -> Automaton | None:
    """The machine for `re.search(pattern, text)`; None where Python cannot read it or it is too large."""
    try:
        parsed = _parser().parse(pattern)
        machine = Automaton()
        machine.exact = not parsed.state.flags & ~re.UNICODE.value
        machine.start = machine.state()
        machine.moves[machine.start].append((ANYTHING, machine.start))
        begin, machine.accepting = _append_all(machine, parsed)
        machine.jump(machine.start, begin)
        machine.moves[machine.accepting].append((ANYTHING, machine.accepting))
    except (re.error, TooLargeError, RecursionError, OverflowError):
        return None
    return machine


def _parser() -> Any:
    # The parser of `re` itself, so that what is read here is what `re.search` reads.
    return importlib.import_module("re._parser")


def _append_all(machine: Automaton, items: Any) -> tuple[int, int]:
    first = last = machine.state()
    for operation, argument in items:
        begin, end = _append(machine, str(operation), argument)
        machine.jump(last, begin)
        last = end
    # The end of a sequence has no moves of its own, so that a loop around it stays apart from what follows.
    end = machine.state()
    machine.jump(last, end)
    return first, end


def _append(machine: Automaton, operation: str, argument: Any) -> tuple[int, int]:
    begin, end = machine.state(), machine.state()
    match operation:
        case "LITERAL" | "NOT_LITERAL" | "ANY" | "IN":
            machine.moves[begin].append((_characters(operation, argument), end))
        case "AT":
            known = str(argument) in _AT_START or str(argument) in _AT_END
            machine.exact &= known
            machine.jump(begin, end, str(argument) if known else "")
        case "BRANCH":
            for branch in argument[1]:
                inner = _append_all(machine, branch)
                machine.jump(begin, inner[0])
                machine.jump(inner[1], end)
        case "SUBPATTERN":
            _, added, removed, items = argument
            machine.exact &= not (added or removed)
            inner = _append_all(machine, items)
            machine.jump(begin, inner[0])
            machine.jump(inner[1], end)
        case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
            machine.exact &= operation != "POSSESSIVE_REPEAT"
            _append_repeat(machine, begin, end, *argument)
        case "ATOMIC_GROUP":
            machine.exact = False
            inner = _append_all(machine, argument)
            machine.jump(begin, inner[0])
            machine.jump(inner[1], end)
        case "ASSERT" | "ASSERT_NOT":
            machine.exact = False
            machine.jump(begin, end)
        case _:
            # A back-reference may stand for any string.
            machine.exact = False
            machine.moves[begin].append((ANYTHING, begin))
            machine.jump(begin, end)
    return begin, end


def _append_repeat(machine: Automaton, begin: int, end: int, least: int, most: int, items: Any) -> None:
    last = begin
    for _ in range(least):
        inner = _append_all(machine, items)
        machine.jump(last, inner[0])
        last = inner[1]
    if most == _parser().MAXREPEAT:
        loop = machine.state()
        inner = _append_all(machine, items)
        machine.jump(last, loop)
        machine.jump(loop, inner[0])
        machine.jump(inner[1], loop)
        machine.jump(loop, end)
        return
    for _ in range(most - least):
        machine.jump(last, end)
        inner = _append_all(machine, items)
        machine.jump(last, inner[0])
        last = inner[1]
    machine.jump(last, end)


def _characters(operation: str, argument: Any) -> Characters:
    match operation:
        case "LITERAL":
            return Characters(ranges=((argument, argument),))
        case "NOT_LITERAL":
            return Characters(ranges=((argument, argument),), negated=True)
        case "ANY":
            return NOT_A_NEWLINE
    parts = [(str(kind), value) for kind, value in argument]
    return Characters(
        ranges=tuple(
            value if kind == "RANGE" else (value, value)
            for kind, value in parts
            if kind in ("RANGE", "LITERAL")
        ),
        categories=tuple(str(value) for kind, value in parts if kind == "CATEGORY"),
        negated=any(kind == "NEGATE" for kind, _ in parts),
    )
