"""Answers have the media type that the client wants most, and a HEAD has no body."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl.services.http.negotiation import preferred
from qmtl.services.registry.wire import OFFERED

V1, VENDOR, JSON = OFFERED

WANTED = [
    ("", V1),
    ("*/*", V1),
    ("application/*", V1),
    (JSON, JSON),
    (VENDOR, VENDOR),
    ("Application/JSON; charset=utf-8", JSON),
    (f"{JSON}, {VENDOR}", VENDOR),  # ours is the choice among equals
    (f"{V1};q=0.2, {JSON};q=0.9", JSON),
    (f"{V1};q=0.2, */*;q=0.5", VENDOR),
    (f"{V1};q=0, */*", VENDOR),
    ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", V1),
    (f"text/html, {JSON};q=0.001", JSON),
    (f"{VENDOR} ; Q=1.000 , , {JSON}", VENDOR),
    ("text/html", None),
    ("*/*;q=0", None),
    (f"{JSON};q=0", None),
    ("application/*;q=0, text/*", None),
    ("json", None),
    ("*", None),
    (f"{JSON};q=2", None),
    (f"{JSON};q=0.5555", None),
    (",", None),
]


@pytest.mark.parametrize(("accept", "kind"), WANTED)
def test_the_type_that_is_wanted_most(accept: str, kind: str | None) -> None:
    assert preferred(accept, OFFERED) == kind


@given(
    st.lists(
        st.tuples(
            st.sampled_from([*OFFERED, "application/*", "text/*", "*/*"]),
            st.sampled_from(["", ";q=0", ";q=0.3", ";q=1"]),
        ),
        min_size=1,
    )
)
def test_the_choice_is_that_of_the_specification(ranges: Sequence[tuple[str, str]]) -> None:
    """RFC 9110: the most specific range that fits a type tells its weight; a weight of 0 refuses it."""
    weights = {}
    for kind in OFFERED:
        for wanted in ("*/*", "application/*", kind):
            for one, quality in ranges:
                if one == wanted:
                    found = float(quality[3:] or 1)
                    before = weights.get(kind, (wanted, 0.0))
                    weights[kind] = (wanted, found if before[0] != wanted else max(before[1], found))
    best = max((weight for _, weight in weights.values()), default=0.0)
    expected = next((kind for kind in OFFERED if best and weights.get(kind, ("", 0.0))[1] == best), None)
    assert preferred(", ".join(itertools.starmap("{}{}".format, ranges)), OFFERED) == expected


@pytest.mark.parametrize(("accept", "kind"), [row for row in WANTED if row[0]])
def test_the_server(http: httpx.Client, accept: str, kind: str | None) -> None:
    answers = [
        http.get("/subjects", headers={"accept": accept}),
        http.get("/subjects/nobody/versions", headers={"accept": accept}),
        http.put("/mode", json={"mode": "READWRITE"}, headers={"accept": accept}),
    ]
    if kind is None:
        assert [answer.status_code for answer in answers] == [406] * 3
        assert {answer.json()["error_code"] for answer in answers} == {406}
    else:
        assert [answer.status_code for answer in answers] == [200, 404, 200]
        assert {answer.headers["content-type"] for answer in answers} == {kind}


def test_several_headers_are_one(http: httpx.Client) -> None:
    headers = [("accept", "text/html"), ("accept", f"{JSON};q=0.5")]
    assert http.get("/subjects", headers=headers).headers["content-type"] == JSON


def test_nothing_is_done_for_who_takes_no_answer(http: httpx.Client, subject: str) -> None:
    place = f"/subjects/{subject}/versions"
    answer = http.post(place, json={"schema": '"int"'}, headers={"accept": "text/csv"})
    assert answer.status_code == 406
    assert "'text/csv'" in answer.json()["message"]
    assert http.get(place).status_code == 404


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/docs", "/openapi.json"])
def test_what_is_not_of_confluent_s_answers_as_it_likes(http: httpx.Client, path: str) -> None:
    assert http.get(path, headers={"accept": "image/png"}).status_code == 200


@pytest.mark.parametrize(
    "path", ["/", "/subjects", "/config", "/subjects/nobody/versions", "/healthz", "/docs"]
)
def test_a_head_is_a_get_without_the_body(http: httpx.Client, path: str) -> None:
    asked, reported = http.get(path), http.head(path)
    assert (reported.status_code, reported.content) == (asked.status_code, b"")
    for name in ("content-type", "content-length"):
        assert reported.headers[name] == asked.headers[name]
    assert http.head("/compatibility/subjects/a/versions").status_code == 405


def test_the_highest_id_on_request(http: httpx.Client, subject: str) -> None:
    place = f"/subjects/{subject}/versions"
    first = http.post(place, json={"schema": '{"type":"fixed","name":"A","size":1}'}).json()["id"]
    second = http.post(
        f"/subjects/{subject}-2/versions", json={"schema": '{"type":"fixed","name":"B","size":1}'}
    )
    newest = second.json()["id"]
    for query, reported in (("", None), ("?fetchMaxId=false", None), ("?fetchMaxId=true", newest)):
        assert http.get(f"/schemas/ids/{first}{query}").json().get("maxId") == reported
    for query in ("", "?permanent=true"):
        http.delete(f"/subjects/{subject}-2{query}")
    assert http.get(f"/schemas/ids/{first}?fetchMaxId=true").json()["maxId"] == newest


def test_the_root_and_the_contexts(http: httpx.Client) -> None:
    assert http.get("/").json() == http.post("/").json() == {}
    assert http.get("/contexts").json() == http.get("/contexts?contextPrefix=.").json() == ["."]
    assert http.get("/contexts?contextPrefix=x").json() == []
