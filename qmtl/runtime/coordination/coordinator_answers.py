"""What comes back from the URL of a coordinator, judged in one place: an answer of one, or an error."""

from __future__ import annotations

import json
from typing import Any, NamedTuple
from urllib.parse import urljoin

from qmtl.foundation.errors import CoordinatorUnavailableError, LeaseError
from qmtl.foundation.leases import LeaseKey
from qmtl.foundation.words import shown
from qmtl.runtime.coordination.answer_shapes import Shape, mistake

_CONFLICT = 409
_SET_URL = "`seamless.coordinator_url` in qmtl.yml, or QMTL_SEAMLESS_COORDINATOR_URL,"
_NEXT = {
    401: "set `seamless.coordinator_token` in qmtl.yml, or QMTL_SEAMLESS_COORDINATOR_TOKEN",
    403: "give the token a role that may write",
    404: "see whether this name, and this version of qmtl, are those of the coordinator",
    422: "change what it names; if all is right, see whether the coordinator is of this version of qmtl",
}
# So much of a foreign body is shown.
_FIRST_WORDS = 160


class LostError(Exception):
    """409: what the worker believed to hold, it does not hold. lost: lease keys, as texts."""

    def __init__(self, why: str, lost: frozenset[str]) -> None:
        super().__init__(why)
        self.why = why
        self.lost = lost


class BadAnswerError(LeaseError):
    """What answers at the URL is no coordinator of this version, or something between changes its answers.

    What was asked may have been done all the same.
    """


class RefusedError(LeaseError):
    """What a coordinator refuses. status: of HTTP."""

    status: int


class Asked(NamedTuple):
    """A request. url: of the coordinator. about: the first lease that is concerned, for errors."""

    url: str
    method: str
    path: str
    about: LeaseKey | None = None

    def unavailable(self, kind: type[CoordinatorUnavailableError], why: str) -> CoordinatorUnavailableError:
        return kind(
            f"the coordinator does not answer at {self.url}",
            url=self.url,
            why=why,
            next_step=f"see whether {self.url}/readyz answers",
        )

    def bad(self, why: str, next_step: str | None = None) -> BadAnswerError:
        return BadAnswerError(
            f"what answers at {self.url} is not a coordinator of this version of qmtl",
            lease_key=self._lease_key,
            why=f"{self.method} {self.path.partition('?')[0]}: {why}",
            next_step=next_step
            or f"set {_SET_URL} to a coordinator; a proxy before one has to pass on what it answers",
        )

    def refused(self, status: int, why: str) -> RefusedError:
        error = RefusedError(
            f"the coordinator refuses with HTTP {status}",
            lease_key=self._lease_key,
            why=why,
            next_step=_NEXT.get(status),
        )
        error.status = status
        return error

    @property
    def _lease_key(self) -> str:
        return "" if self.about is None else str(self.about)


class Response(NamedTuple):
    """What came back. location: where a redirect points."""

    status: int
    content_type: str
    body: bytes
    location: str | None = None


def answer_of(asked: Asked, response: Response, shape: Shape) -> Any:
    """The answer of a coordinator.

    Raises `CoordinatorUnavailableError` for HTTP 5xx, `LostError`, `LeaseError` for what a coordinator
    refuses, and `BadAnswerError` for all that no coordinator answers.
    """
    status = response.status
    if 300 <= status < 400:
        raise _redirected(asked, response)
    found = _json_of(response)
    detail = found.get("detail") if isinstance(found, dict) else None
    if status >= 500:
        raise asked.unavailable(
            CoordinatorUnavailableError, detail if isinstance(detail, str) else _seen(response)
        )
    if status >= 400:
        if not isinstance(detail, str):
            raise asked.bad(_seen(response))
        if status != _CONFLICT:
            raise asked.refused(status, detail)
        lost = found.get("lost", [])
        if not isinstance(lost, list) or not all(isinstance(one, str) for one in lost):
            raise asked.bad(_seen(response))
        raise LostError(detail, frozenset(lost))
    wrong = None if found is None else mistake(found, shape)
    if found is None or not 200 <= status < 300 or wrong is not None:
        raise asked.bad(_seen(response) + (f"; {wrong}" if wrong else ""))
    return found


def _json_of(response: Response) -> Any:
    """None for anything else, also for the null of JSON, which no route answers."""
    kind = response.content_type.partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        return None
    try:
        return json.loads(response.body)
    except (ValueError, RecursionError):
        return None


def _seen(response: Response) -> str:
    text = " ".join(response.body[: 4 * _FIRST_WORDS].decode(errors="replace").split())
    words = shown(text[:_FIRST_WORDS]) + ("..." if len(text) > _FIRST_WORDS else "")
    kind = shown(response.content_type[:80]) or "without a content type"
    return f"HTTP {response.status}, {kind}" + (f": {words}" if words else ", with an empty body")


def _redirected(asked: Asked, response: Response) -> BadAnswerError:
    if not response.location:
        return asked.bad(f"HTTP {response.status}, a redirect that points nowhere")
    target = urljoin(asked.url + asked.path, response.location)
    goes_to = shown(target.removesuffix(asked.path)[:500])
    return asked.bad(
        f"HTTP {response.status}, a redirect to {goes_to}, which is not followed",
        f"set {_SET_URL} to {goes_to} if that is the coordinator",
    )
