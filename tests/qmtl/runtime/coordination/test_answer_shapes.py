"""The first thing that is wrong in an answer is named by its place."""

from __future__ import annotations

from typing import Any

import pytest

from qmtl.runtime.coordination.answer_shapes import (
    HISTORY,
    JOBS,
    LEASES,
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
        ([], SESSION, "the answer: Input should be a valid dictionary"),
        ({}, SESSION, "session: Field required"),
        ({"jobs": {}}, JOBS, "jobs: Input should be a valid list"),
        ({"jobs": [3]}, JOBS, "jobs.0: Input should be a valid dictionary"),
        (ALIVE | {"answers": [HELD]}, claims(2), "1 answers where 2 were asked for"),
        (ALIVE | {"answers": [{"state": "odd"}]}, claims(1), "answers.0: Input tag 'odd'"),
        (ALIVE | {"answers": [[]]}, claims(1), "answers.0: Input should be a valid dictionary"),
        (ALIVE | {"answers": [{"state": []}]}, claims(1), "answers.0: "),
        (
            ALIVE | {"answers": [{**HELD, "progress": {"done": 1}}]},
            claims(1),
            "progress.total: Field required",
        ),
        (ALIVE | {"answers": [{"state": "done", "as_of": "noon"}]}, claims(1), "as_of: Value error"),
        (ALIVE | {"expires_in_s": True}, SESSION, "expires_in_s: Input should be a valid number"),
        (ALIVE | {"expires_in_s": "3"}, SESSION, "expires_in_s: Input should be a valid number"),
        (ALIVE | {"expires_in_s": float("nan")}, SESSION, "expires_in_s: Input should be a finite number"),
        (ALIVE | {"expires_in_s": -1}, SESSION, "expires_in_s: Input should be greater"),
        (
            {"taken": TAKEN | {"lease_key": "claim"}, "retry_after_ms": 0},
            TAKE,
            "taken.lease_key: Value error, 'claim' is not the key of a lease",
        ),
        ({"taken": TAKEN | {"number": "0"}, "retry_after_ms": 0}, TAKE, "taken.number: Input should be"),
        ({"taken": TAKEN | {"number": -1}, "retry_after_ms": 0}, TAKE, "taken.number: Input should be"),
        ({"taken": TAKEN | {"number": True}, "retry_after_ms": 0}, TAKE, "taken.number: Input should be"),
        ({"retry_after_ms": 0}, TAKE, "taken: Field required"),
        ({"steps": [], "next": None, "revision": 3}, HISTORY, "now: Field required"),
    ],
)
def test_what_is_wrong_is_named(answer: Any, shape: Shape, why: str) -> None:
    assert why in str(mistake(answer, shape))
