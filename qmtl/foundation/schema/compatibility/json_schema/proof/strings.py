"""What a reader asks of a string."""

from __future__ import annotations

from qmtl.foundation.schema.compatibility.json_schema.constraints.strings import Strings
from qmtl.foundation.schema.compatibility.json_schema.instances.strings import strings
from qmtl.foundation.schema.compatibility.json_schema.node import SchemaNode
from qmtl.foundation.schema.compatibility.json_schema.proof.failure import Failure, plainly
from qmtl.foundation.schema.compatibility.json_schema.proof.prover import Answer, Prover
from qmtl.foundation.schema.compatibility.json_schema.proof.sentences import amount, excerpt, shown
from qmtl.foundation.schema.compatibility.json_schema.regex_language.search import find_words

_TOO_LONG_TO_BUILD = "no string of that length was built"


def _min_length(prover: Prover, constraints: Strings, goal: SchemaNode, length: int) -> list[Failure]:
    wanted = constraints.wanted
    if wanted.shortest >= length:
        return []
    longest = length - 1 if wanted.longest is None else min(length - 1, wanted.longest)
    if wanted.accept and find_words(wanted._replace(longest=int(longest))).none_exists:
        return []
    return [
        Failure(
            "json.min_length_raised",
            f"wants a string of at least {amount(length, 'character')}",
            {"minLength": length},
            excerpt(constraints, "type", "minLength", "pattern"),
            plainly(lambda: strings(constraints, shorter_than=int(length))),
        )
    ]


def _max_length(prover: Prover, constraints: Strings, goal: SchemaNode, length: int) -> list[Failure]:
    wanted = constraints.wanted
    if wanted.longest is not None and wanted.longest <= length:
        return []
    shortest = max(int(length) + 1, wanted.shortest)
    if wanted.accept and find_words(wanted._replace(shortest=shortest)).none_exists:
        return []
    return [
        Failure(
            "json.max_length_lowered",
            f"wants a string of at most {amount(length, 'character')}",
            {"maxLength": length},
            excerpt(constraints, "type", "maxLength", "pattern"),
            plainly(lambda: strings(constraints, longer_than=int(length))),
            unsure=_TOO_LONG_TO_BUILD,
        )
    ]


def _pattern(prover: Prover, constraints: Strings, goal: SchemaNode, pattern: str) -> list[Failure]:
    wanted = constraints.wanted
    if pattern in wanted.accept:
        return []
    if find_words(wanted._replace(refuse=(*wanted.refuse, pattern))).none_exists:
        return []
    return [
        Failure(
            "json.pattern_narrowed",
            f"wants a string that matches {shown(pattern)}",
            {"pattern": pattern},
            excerpt(constraints, "type", "pattern"),
            plainly(lambda: strings(constraints, refuse=(pattern,))),
            unsure="whether the expression covers all that the writer may write cannot be told",
        )
    ]


ANSWERS: dict[str, Answer] = {"minLength": _min_length, "maxLength": _max_length, "pattern": _pattern}
