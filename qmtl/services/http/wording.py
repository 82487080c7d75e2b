"""How a service words what it answers: media types, JSON, and the body of an error."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Protocol

from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.responses import Response

from qmtl.foundation.errors import QmtlError


class Refuse(Protocol):
    """Makes the answer of an error."""

    def __call__(
        self, status: int, message: str, *, headers: Mapping[str, str] | None = None
    ) -> Response: ...


_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def as_json(value: Any) -> bytes:
    # In ASCII: a string of JSON may hold half a surrogate pair, which UTF-8 cannot.
    return _encode(value).encode()


class JSONAnswer(JSONResponse):
    """Bytes of JSON, or a value that becomes such."""

    def render(self, content: Any) -> bytes:
        return content if isinstance(content, bytes) else as_json(content)


@dataclass(frozen=True)
class Wording:
    """The form of all answers of one service.

    answer: the class of its answers. offered: the media types that they may have, the best first.
    accepted: the media types of bodies that it reads.
    refuse: makes the answer of an error; error_model and error_type: its form and its media type.
    failure: what status 500 means, for the OpenAPI page.
    """

    answer: type[JSONAnswer]
    offered: tuple[str, ...]
    accepted: tuple[str, ...]
    refuse: Refuse
    error_model: type[BaseModel]
    error_type: str
    failure: str = "The service failed."


class ProblemDetails(BaseModel):
    """An error in the form of RFC 9457; `detail` says what to do about it."""

    title: str
    status: int
    detail: str


class _Problem(JSONAnswer):
    media_type = "application/problem+json"


def _problem(status: int, message: str, *, headers: Mapping[str, str] | None = None) -> Response:
    details = ProblemDetails(title=HTTPStatus(status).phrase, status=status, detail=message)
    return _Problem(details.model_dump(), status, headers)


# For services that are not bound to the form of another API.
PLAIN = Wording(
    answer=JSONAnswer,
    offered=("application/json",),
    accepted=("application/json",),
    refuse=_problem,
    error_model=ProblemDetails,
    error_type="application/problem+json",
)


def sentence(error: QmtlError) -> str:
    """An error on one line: what happened, why, and what to do."""
    return "; ".join(part for part in (error.what, error.why, error.next_step) if part)
