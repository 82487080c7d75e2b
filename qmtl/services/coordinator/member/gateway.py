"""One question to etcd by a command, which waits for the answer."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException, HTTPResponse
from typing import Any

from qmtl.foundation.errors import CoordinatorUnavailableError, InvalidRequestError
from qmtl.foundation.words import shown

ANSWER_S = 10.0

# Of gRPC: what was asked is wrong, is not there, is there already, or cannot be done as things stand.
_REFUSALS = (3, 5, 6, 9)
# Permission is denied; nobody is authenticated.
_WHO = (7, 16)
_AS_USER = "let etcdctl do it, which takes --user; or take the users away: etcdctl auth disable"
# No proxy between a command and a program of its own machine.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def asked(url: str, path: str, body: Mapping[str, Any], *, next_step: str) -> Any:
    """The answer of `POST /v3/<path>`.

    Raises `InvalidRequestError` for what etcd refuses, and `CoordinatorUnavailableError` where it does not
    answer, or is in no state to. next_step: for the first of them.
    """
    with opened(url, path, body, next_step=next_step) as response:
        try:
            return json.load(response)
        except (ValueError, OSError, HTTPException) as error:
            raise _unreachable(url, str(error)) from error


def opened(url: str, path: str, body: Mapping[str, Any], *, next_step: str) -> HTTPResponse:
    """As `asked`, for an answer that comes in parts."""
    request = urllib.request.Request(f"{url}/v3/{path}", data=json.dumps(body).encode(), method="POST")
    try:
        response: HTTPResponse = _OPENER.open(request, timeout=ANSWER_S)
    except urllib.error.HTTPError as refused:
        with refused:
            code, message = _said(refused.read())
        why = shown(message) or f"HTTP {refused.code}"
        if _asks_who(code, why):
            raise InvalidRequestError(
                "etcd asks for a user and password, which qmtl does not give", why=why, next_step=_AS_USER
            ) from refused
        if code in _REFUSALS:
            raise InvalidRequestError("etcd refuses", why=why, next_step=next_step) from refused
        raise CoordinatorUnavailableError(
            f"etcd at {url} cannot do it now", url=url, why=why, next_step=_next_step(why)
        ) from refused
    except (OSError, HTTPException) as error:
        raise _unreachable(url, str(getattr(error, "reason", error))) from error
    return response


def version_of(peer_url: str) -> str:
    """What a member says at the address where other members hear it. Raises `CoordinatorUnavailableError`."""
    try:
        with _OPENER.open(f"{peer_url}/version", timeout=2.0) as response:
            return str(json.load(response)["etcdserver"])
    except (OSError, HTTPException, ValueError, KeyError, TypeError) as error:
        raise _unreachable(peer_url, str(getattr(error, "reason", error))) from error


def _said(text: bytes) -> tuple[int, str]:
    """The code of gRPC and the message; of what is no answer of etcd 0, and its first words."""
    try:
        answer = json.loads(text)
        if isinstance(answer.get("error"), dict):  # of an answer that comes in parts
            answer = answer["error"]
        return int(answer.get("code", answer.get("grpc_code", 0))), str(answer["message"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return 0, " ".join(text[:160].decode(errors="replace").split())


def _asks_who(code: int, why: str) -> bool:
    return code in _WHO or "user name is empty" in why or "invalid auth token" in why


def _next_step(why: str) -> str:
    if "unhealthy cluster" in why:
        return "wait until each member has answered for five seconds; remove one that is lost for good first"
    return "see whether a majority of the members runs: 'qmtl coordinator members'"


def _unreachable(url: str, why: str) -> CoordinatorUnavailableError:
    return CoordinatorUnavailableError(
        f"etcd does not answer at {url}",
        url=url,
        why=why,
        next_step="give --etcd URL of a member that runs: that of this machine is at http://127.0.0.1:PORT, "
        "where PORT is the --client-port of its coordinator",
    )
