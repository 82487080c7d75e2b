"""The OpenAPI page: what FastAPI knows of the routes, and what lies around them."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from qmtl.services.registry.wire import ACCEPTED, MEDIA_TYPE

_WITH_BODY = {
    400: "The body is not JSON.",
    408: "The body did not arrive in time.",
    413: "The body is too long.",
    415: "The content type is not read here.",
}
_NEGOTIATED = {406: "Nothing fits the Accept header."}
_GUARDED = {401: "No credentials, or wrong ones.", 403: "The role of these credentials is too small."}
_OPEN = ("/healthz", "/readyz")
_FREE = (*_OPEN, "/metrics")
_STORED = {500: "The storage failed (50001)."}


def described(app: FastAPI, *, guarded: bool) -> dict[str, Any]:
    """The page of an application, made once."""
    if app.openapi_schema is None:
        page = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        for path, methods in page["paths"].items():
            for operation in methods.values():
                _complete(operation, guarded=guarded and path not in _OPEN, negotiated=path not in _FREE)
        if guarded:
            page["components"]["securitySchemes"] = {
                "basic": {"type": "http", "scheme": "basic"},
                "bearer": {"type": "http", "scheme": "bearer"},
            }
        app.openapi_schema = page
    return app.openapi_schema


def _complete(operation: dict[str, Any], *, guarded: bool, negotiated: bool) -> None:
    more = _STORED | (_NEGOTIATED if negotiated else {})
    if "requestBody" in operation:
        content = operation["requestBody"]["content"]
        (body,) = content.values()
        operation["requestBody"]["content"] = dict.fromkeys(ACCEPTED, body)
        more |= _WITH_BODY
    if guarded:
        operation["security"] = [{"basic": []}, {"bearer": []}]
        more |= _GUARDED
    operation["responses"]["200"]["description"] = "As asked."
    told = {"schema": {"$ref": "#/components/schemas/ErrorAnswer"}}
    for code, meaning in more.items():
        operation["responses"].setdefault(str(code), {"description": meaning, "content": {MEDIA_TYPE: told}})
