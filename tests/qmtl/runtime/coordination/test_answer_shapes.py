"""The first thing that is wrong in an answer is named by its place."""

from __future__ import annotations

from typing import Any

import pytest

from qmtl.runtime.coordination.answer_shapes import (
    COUNT,
    HISTORY,
    JOBS,
    LEASES,
    SECONDS,
    SESSION,
    TAKE,
    Shape,
    claims,
    mistake,
)

TIME, KEY = "2024-01-01T00:00:00Z", "store/ohlcv:x:BTC/USDT:1m/7"
TAKEN = {"job": "j", "number": 0, "lease_key": KEY, "series": "s", "start": TIME, "end": TIME, "attempts": 0}
HELD = {"state": "held", "holder": "h", "progress": {"done": 1, "total": 2}, "retry_after_ms": 5}
ALIVE = {"session": "s", "expires_in_s": 3}


@pytest.mark.parametrize(
    ("answer", "shape"),
    [
        (ALIVE | {"more": 1}, SESSION),
        ({"taken": None, "retry_after_ms": 0}, TAKE),
        ({"taken": TAKEN, "retry_after_ms": 0}, TAKE),
        (ALIVE | {"answers": [HELD, {"state": "granted"}, {"state": "done", "as_of": TIME}]}, claims(3)),
        ({"leases": [], "next": None}, LEASES),
    ],
)
def test_what_a_coordinator_answers_has_its_shape(answer: Any, shape: Shape) -> None:
    assert mistake(answer, shape) is None


@pytest.mark.parametrize(
    ("answer", "shape", "why"),
    [
        ([], SESSION, "the answer is not an object"),
        ({}, SESSION, "the answer has no `session`"),
        ({"jobs": {}}, JOBS, "`jobs` of the answer is not a list"),
        ({"jobs": [3]}, JOBS, "`jobs` of the answer[0] is not an object"),
        (
            ALIVE | {"answers": [HELD]},
            claims(2),
            "`answers` of the answer has 1 entries where 2 were asked for",
        ),
        (
            ALIVE | {"answers": [{"state": "odd"}]},
            claims(1),
            "`answers` of the answer[0] has no `state` that is",
        ),
        (ALIVE | {"answers": [[]]}, claims(1), "has no `state` that is known"),
        (ALIVE | {"answers": [{"state": []}]}, claims(1), "has no `state` that is known"),
        (ALIVE | {"answers": [{**HELD, "progress": {"done": 1}}]}, claims(1), "has no `total`"),
        (ALIVE | {"answers": [{"state": "done", "as_of": "noon"}]}, claims(1), "is not a time"),
        (ALIVE | {"expires_in_s": True}, SESSION, "is not a number of seconds"),
        (ALIVE | {"expires_in_s": float("nan")}, SESSION, "is not a number of seconds"),
        ({"taken": TAKEN | {"lease_key": "claim"}, "retry_after_ms": 0}, TAKE, "is not the key of a lease"),
        ({"taken": TAKEN | {"number": "0"}, "retry_after_ms": 0}, TAKE, "is not a count"),
        ({"retry_after_ms": 0}, TAKE, "the answer has no `taken`"),
        ({"steps": [], "next": None, "revision": 3}, HISTORY, "the answer has no `now`"),
    ],
)
def test_what_is_wrong_is_named(answer: Any, shape: Shape, why: str) -> None:
    assert why in str(mistake(answer, shape))


def test_true_is_no_number_and_a_count_is_not_negative() -> None:
    assert mistake(True, COUNT) == "the answer is not a count"
    assert mistake(True, SECONDS) == "the answer is not a number of seconds"
    assert mistake(-1, COUNT) == "the answer is not a count"
