"""The OpenAPI page: what FastAPI knows of the routes, and what the layers around them add."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from qmtl.services.http.health import METRICS, UNGUARDED
from qmtl.services.http.wording import Wording

_WITH_BODY = {
    400: "The body is not JSON.",
    408: "The body did not arrive in time.",
    413: "The body is too long.",
    415: "The content type is not read here.",
}
_NEGOTIATED = {406: "Nothing fits the Accept header."}
_GUARDED = {401: "No credentials, or wrong ones.", 403: "The role of these credentials is too small."}
# FastAPI's own forms of a refusal, which no service here answers.
_OF_FASTAPI = ("HTTPValidationError", "ValidationError")


def described(app: FastAPI, wording: Wording, *, guarded: bool) -> dict[str, Any]:
    """The page of an application, made once."""
    if app.openapi_schema is None:
        page = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        for path, methods in page["paths"].items():
            needs_role = guarded and path not in UNGUARDED
            negotiated = path not in (*UNGUARDED, METRICS)
            for operation in methods.values():
                _complete(operation, wording, guarded=needs_role, negotiated=negotiated)
        for name in _OF_FASTAPI:
            page["components"]["schemas"].pop(name, None)
        if guarded:
            page["components"]["securitySchemes"] = {
                "basic": {"type": "http", "scheme": "basic"},
                "bearer": {"type": "http", "scheme": "bearer"},
            }
        app.openapi_schema = page
    return app.openapi_schema


def _complete(operation: dict[str, Any], wording: Wording, *, guarded: bool, negotiated: bool) -> None:
    more = {500: wording.failure} | (_NEGOTIATED if negotiated else {})
    responses = operation["responses"]
    if "requestBody" in operation:
        content = operation["requestBody"]["content"]
        (body,) = content.values()
        operation["requestBody"]["content"] = dict.fromkeys(wording.accepted, body)
        more |= _WITH_BODY
    if guarded:
        operation["security"] = [{"basic": []}, {"bearer": []}]
        more |= _GUARDED
    if responses.get("422", {}).get("description") == "Validation Error":
        # What FastAPI adds to a route with parameters that does not say itself what it refuses.
        del responses["422"]
        more[422] = "What was sent cannot be used."
    for answer in responses.values():
        if answer["description"] == "Successful Response":
            answer["description"] = "As asked."
    form = {"schema": {"$ref": f"#/components/schemas/{wording.error_model.__name__}"}}
    for code, meaning in more.items():
        responses.setdefault(str(code), {"description": meaning, "content": {wording.error_type: form}})
