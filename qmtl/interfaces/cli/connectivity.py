"""Whether somebody answers at a web address, within a moment, and never with an exception."""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterable
from dataclasses import dataclass
from threading import Thread
from urllib.parse import SplitResult, urlsplit

from qmtl.foundation.certificates import advice, tls_problem, trusted_context
from qmtl.foundation.errors import InvalidRequestError

CONNECT_TIMEOUT_S = 3.0
# A name server may be silent for longer than any time-out of a connection; it is not waited for.
TIMEOUT_S = CONNECT_TIMEOUT_S + 1.0


@dataclass(frozen=True)
class Answer:
    """What came from `host`: an HTTP status, or why there is none."""

    host: str
    status: int | None
    why: str = ""
    cure: str = "check the network"

    @property
    def is_welcome(self) -> bool:
        """Whether the answer is neither a refusal of this address (403, 451) nor a failure of the server."""
        return self.status is not None and self.status < 500 and self.status not in (403, 451)

    def __str__(self) -> str:
        if self.status is None:
            return f"{self.host} cannot be reached ({self.why})"
        return f"{self.host} answers" + ("" if self.is_welcome else f", but with HTTP {self.status}")


def probe(url: str) -> Answer:
    """Request the headers of `url` once."""
    try:
        parts = urlsplit(url)
        connection = _connection(parts)
        try:
            connection.request("GET", parts.path or "/", headers={"User-Agent": "qmtl doctor"})
            return Answer(parts.netloc, connection.getresponse().status)
        finally:
            connection.close()
    except InvalidRequestError as error:  # the authorities to trust cannot be read
        return Answer(_host(url), None, f"{error.what}: {error.why}", error.next_step or "")
    except (OSError, http.client.HTTPException, ValueError) as error:
        problem = tls_problem(error)
        if problem is not None:
            return Answer(_host(url), None, problem, advice(problem))
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return Answer(_host(url), None, why)


def _connection(parts: SplitResult) -> http.client.HTTPConnection:
    host, port = parts.hostname or "", parts.port
    if parts.scheme == "http":
        return http.client.HTTPConnection(host, port, timeout=CONNECT_TIMEOUT_S)
    return http.client.HTTPSConnection(host, port, timeout=CONNECT_TIMEOUT_S, context=trusted_context())


def _host(url: str) -> str:
    """The part of an address that people recognise; the whole of one that is none."""
    return url.partition("://")[2].partition("/")[0] or repr(url)


def probe_all(urls: Iterable[str]) -> dict[str, Answer]:
    """The answer of each address; all are requested at the same time, for `TIMEOUT_S` together."""
    answers: dict[str, Answer] = {}

    def request(url: str) -> None:
        answers[url] = probe(url)

    wanted = list(dict.fromkeys(urls))
    threads = [Thread(target=request, args=(url,), daemon=True) for url in wanted]
    deadline = time.monotonic() + TIMEOUT_S
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    silent = f"no answer within {TIMEOUT_S:g} s"
    return {url: answers.get(url) or Answer(_host(url), None, silent) for url in wanted}
