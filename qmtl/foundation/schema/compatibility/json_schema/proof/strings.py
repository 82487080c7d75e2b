"""What a reader asks of a string."""

from __future__ import annotations

from qmtl.foundation.schema.compatibility.json_schema.facts.strings import Strings
from qmtl.foundation.schema.compatibility.json_schema.instances.strings import strings
from qmtl.foundation.schema.compatibility.json_schema.place import Place
from qmtl.foundation.schema.compatibility.json_schema.proof.failure import Failure, plainly
from qmtl.foundation.schema.compatibility.json_schema.proof.prover import Answer, Prover
from qmtl.foundation.schema.compatibility.json_schema.proof.sentences import said, shown
from qmtl.foundation.schema.compatibility.json_schema.words.search import find_words

_TOO_LONG_TO_BUILD = "no string of that length was built"


def _min_length(prover: Prover, facts: Strings, goal: Place, length: int) -> list[Failure]:
    wanted = facts.wanted
    if wanted.shortest >= length:
        return []
    longest = length - 1 if wanted.longest is None else min(length - 1, wanted.longest)
    if wanted.accept and find_words(wanted._replace(longest=int(longest))).none_exists:
        return []
    return [
        Failure(
            "json.min_length_raised",
            f"wants a string of at least {shown(length)} characters",
            {"minLength": length},
            said(facts, "type", "minLength", "pattern"),
            plainly(lambda: strings(facts, shorter_than=int(length))),
        )
    ]


def _max_length(prover: Prover, facts: Strings, goal: Place, length: int) -> list[Failure]:
    wanted = facts.wanted
    if wanted.longest is not None and wanted.longest <= length:
        return []
    shortest = max(int(length) + 1, wanted.shortest)
    if wanted.accept and find_words(wanted._replace(shortest=shortest)).none_exists:
        return []
    return [
        Failure(
            "json.max_length_lowered",
            f"wants a string of at most {shown(length)} characters",
            {"maxLength": length},
            said(facts, "type", "maxLength", "pattern"),
            plainly(lambda: strings(facts, longer_than=int(length))),
            unsure=_TOO_LONG_TO_BUILD,
        )
    ]


def _pattern(prover: Prover, facts: Strings, goal: Place, pattern: str) -> list[Failure]:
    wanted = facts.wanted
    if pattern in wanted.accept:
        return []
    if find_words(wanted._replace(refuse=(*wanted.refuse, pattern))).none_exists:
        return []
    return [
        Failure(
            "json.pattern_narrowed",
            f"wants a string that matches {shown(pattern)}",
            {"pattern": pattern},
            said(facts, "type", "pattern"),
            plainly(lambda: strings(facts, refuse=(pattern,))),
            unsure="whether the expression covers all that the writer may write cannot be told",
        )
    ]


ANSWERS: dict[str, Answer] = {"minLength": _min_length, "maxLength": _max_length, "pattern": _pattern}
