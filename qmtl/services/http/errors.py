"""What becomes of errors on their way out: each is answered in the wording of the service, none as a page."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route

from qmtl.foundation.errors import InvalidRequestError, QmtlError
from qmtl.services.http.wording import Wording, sentence

_log = logging.getLogger("qmtl.http")


def answer_errors(app: FastAPI, wording: Wording, routes: Sequence[BaseRoute]) -> None:
    """Add the handlers that every service needs; one that it has for an error of its own goes first.

    Bodies that are not JSON are 400, requests that do not fit their form and `InvalidRequestError` 422,
    other errors of ours 500 with their text, and a defect 500 with the name of its class alone.
    """

    async def unusable(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        problems = error.errors()
        if any(problem["type"] == "json_invalid" for problem in problems):
            return wording.refuse(400, f"the body is not JSON: {problems[0]['ctx']['error']}")
        parts = (f"{' '.join(map(str, problem['loc']))}: {problem['msg']}" for problem in problems)
        return wording.refuse(422, "; ".join(parts))

    async def of_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        headers = dict(error.headers or {})
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            # Starlette names the methods of the first fitting route alone.
            methods = _methods(request, routes)
            headers = {"allow": ", ".join(sorted(methods))} if methods else headers
        return wording.refuse(error.status_code, f"HTTP {error.status_code} {error.detail}", headers=headers)

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, QmtlError)
        if isinstance(error, InvalidRequestError):
            return wording.refuse(422, sentence(error))
        _log.error("%s", error)
        return wording.refuse(500, sentence(error))

    async def defect(request: Request, error: Exception) -> Response:
        return wording.refuse(500, f"this is a defect of the server: {type(error).__name__}")

    app.add_exception_handler(RequestValidationError, unusable)
    app.add_exception_handler(HTTPException, of_http)
    app.add_exception_handler(QmtlError, refused)
    app.add_exception_handler(Exception, defect)


def _methods(request: Request, routes: Sequence[BaseRoute]) -> set[str]:
    fitting = [
        route
        for route in routes
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE
    ]
    methods = {method for route in fitting for method in route.methods or ()}
    return methods | ({"HEAD"} if "GET" in methods else set())
