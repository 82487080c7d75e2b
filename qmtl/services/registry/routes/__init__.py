"""Each route translates a request into one call of the registry, and what that gives into an answer."""

from __future__ import annotations

from typing import Any

from qmtl.services.registry.wire import ErrorAnswer

_MEANINGS = {
    404: "There is no such subject, version, schema or setting.",
    409: "The schema is incompatible.",
    422: "What was sent cannot be used.",
}


def refused(*codes: int) -> dict[int | str, dict[str, Any]]:
    """What a route may answer but success, for the OpenAPI page."""
    return {code: {"model": ErrorAnswer, "description": _MEANINGS[code]} for code in codes}
