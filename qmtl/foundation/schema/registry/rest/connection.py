"""One exchange with a registry: within a time-out, asked again where that is harmless, answered as JSON."""

from __future__ import annotations

import json
import math
import os
import random
import ssl
import time
from collections.abc import Mapping
from enum import Enum, auto
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from qmtl.foundation.certificates import advice, tls_problem, trusted_context
from qmtl.foundation.clock import Clock
from qmtl.foundation.errors import InvalidRequestError, MissingDependencyError, RegistryUnavailableError
from qmtl.foundation.schema.registry.rest.address import Address

if TYPE_CHECKING:
    import httpx

MEDIA_TYPE = "application/vnd.schemaregistry.v1+json"

# Between attempts, so there is one more of these.
_PAUSES_S = (0.05, 0.2)

# Too many requests, or a gateway whose registry is down. They are no answer to what was asked.
_BUSY = (429, 502, 503, 504)

# No registry answers with more; what does is none.
_MOST_BYTES = 64 * 2**20

# Less than the five seconds after which servers such as uvicorn close a connection without notice.
_IDLE_S = 3.0


class Effect(Enum):
    """Whether asking changes something, and so may be done twice."""

    READS = auto()
    WRITES = auto()


class Reply(NamedTuple):
    """What was answered: the status of HTTP, and a JSON value."""

    status: int
    value: Any


class UnansweredError(RegistryUnavailableError):
    """A change was sent, and no answer came: it may have been made, or not."""


class Connection:
    """Kept alive between exchanges. Safe to use from any thread; a forked process gets one of its own."""

    def __init__(
        self, address: Address, *, timeout_s: float, ca: str | os.PathLike[str] | None, clock: Clock
    ):
        """`ca` is a file (PEM) of the authorities to trust; without one, those that httpx trusts."""
        self.address = address
        self._timeout_s = timeout_s
        self._clock = clock
        self._ca = None if ca is None else Path(ca)
        # By process: what a parent has opened belongs to the parent, but must not be closed by the child.
        self._clients: dict[int, httpx.Client] = {}

    def close(self) -> None:
        client = self._clients.pop(os.getpid(), None)
        if client is not None:
            client.close()

    def exchange(
        self,
        method: str,
        path: str,
        effect: Effect,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Reply:
        """The reply, whatever its status. `path` is percent-encoded already.

        A read is asked up to three times within the time-out. A write is asked again only where it was
        certainly not sent; `UnansweredError` says that it may have been done. Raises
        `RegistryUnavailableError` where no registry answers.
        """
        ends = self._clock.monotonic() + self._timeout_s
        content = None if body is None else json.dumps(body).encode()
        pauses = iter(_PAUSES_S)
        while True:
            answer = self._once(method, path, query, content, ends)
            if isinstance(answer, Reply):
                return answer
            pause = next(pauses, math.inf) * random.uniform(0.5, 1.0)
            is_harmless = effect is Effect.READS or not answer.was_sent
            if not is_harmless or self._clock.monotonic() + pause >= ends:
                raise self._unavailable(answer, effect)
            time.sleep(pause)

    def not_a_registry(self, reply: Reply | str) -> RegistryUnavailableError:
        """Something answers there, but not as a schema registry does."""
        detail = reply if isinstance(reply, str) else f"HTTP {reply.status}, {json.dumps(reply.value)[:200]}"
        return RegistryUnavailableError(
            f"what answers at {self.address.url} is no schema registry",
            url=self.address.url,
            why=detail,
            next_step="look whether the URL is right, and whether a proxy answers in place of the registry",
        )

    def _once(
        self, method: str, path: str, query: Mapping[str, str] | None, content: bytes | None, ends: float
    ) -> Reply | _Failure:
        client = self._client()
        import httpx

        request = client.build_request(
            method,
            self.address.url + path,
            params=query or None,
            content=content,
            headers={} if content is None else {"content-type": MEDIA_TYPE},
            timeout=max(0.001, ends - self._clock.monotonic()),
        )
        try:
            response = client.send(request, stream=True)
            try:
                return self._read(response, ends)
            finally:
                response.close()
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            return _Failure(_reason(error), was_sent=False, tls=tls_problem(error))
        except httpx.TransportError as error:
            return _Failure(_reason(error), was_sent=True)
        except (httpx.DecodingError, httpx.InvalidURL) as error:
            raise self.not_a_registry(str(error)) from error

    def _read(self, response: httpx.Response, ends: float) -> Reply | _Failure:
        parts: list[bytes] = []
        size = 0
        for part in response.iter_bytes():
            parts.append(part)
            size += len(part)
            if size > _MOST_BYTES:
                raise self.not_a_registry(f"it answers with more than {_MOST_BYTES} bytes")
            if self._clock.monotonic() > ends:
                return _Failure("its answer does not end", was_sent=True)
        status = response.status_code
        if status in _BUSY:
            return _Failure(f"HTTP {status} {response.reason_phrase}", was_sent=status != 429)
        try:
            return Reply(status, json.loads(b"".join(parts)))
        except (ValueError, RecursionError) as error:
            kind = response.headers.get("content-type", "no content type")
            raise self.not_a_registry(f"HTTP {status} with {kind}, which is no JSON") from error

    def _unavailable(self, failure: _Failure, effect: Effect) -> RegistryUnavailableError:
        if effect is Effect.WRITES and failure.was_sent:
            return UnansweredError(
                f"the schema registry at {self.address.url} did not answer to a change",
                url=self.address.url,
                why=f"{failure.why}; the change may have been made, or not",
                next_step="look what is registered before it is asked for again",
            )
        return RegistryUnavailableError(
            f"the schema registry at {self.address.url} cannot be reached",
            url=self.address.url,
            why=f"{failure.tls} ({failure.why})" if failure.tls else failure.why,
            next_step=advice(failure.tls)
            if failure.tls
            else "look whether it runs, and whether the URL is right",
        )

    def _client(self) -> httpx.Client:
        process = os.getpid()
        client = self._clients.get(process)
        if client is None:
            made = self._made()
            client = self._clients.setdefault(process, made)
            if client is not made:
                made.close()
        return client

    def _made(self) -> httpx.Client:
        try:
            import httpx
        except ImportError as missing:
            raise MissingDependencyError("httpx", extra="schemas") from missing
        headers = {"accept": f"{MEDIA_TYPE}, application/json"}
        if self.address.authorization is not None:
            headers["authorization"] = self.address.authorization
        trusted = self._trusted()
        try:
            return httpx.Client(
                headers=headers,
                verify=trusted,
                # A proxy of the environment cannot reach this machine's own loopback.
                trust_env=not self.address.is_loopback,
                limits=httpx.Limits(keepalive_expiry=_IDLE_S),
            )
        except (ImportError, ValueError) as error:  # a scheme that is not known, or needs one more package
            raise InvalidRequestError(
                "the proxy of the environment cannot be used",
                why=str(error),
                next_step="correct HTTP_PROXY, HTTPS_PROXY or ALL_PROXY, or exempt the registry by NO_PROXY",
            ) from error

    def _trusted(self) -> ssl.SSLContext:
        if not self.address.is_secure:
            return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # never used, and loading authorities takes long
        if self._ca is None:
            return trusted_context()
        try:
            return ssl.create_default_context(cafile=self._ca)
        except OSError as error:  # ssl.SSLError is one
            raise InvalidRequestError(
                f"the certificate authorities of {self._ca} cannot be used",
                why=str(error),
                next_step="give a file in PEM",
            ) from error


class _Failure(NamedTuple):
    """Why no answer came, whether the request may have been read, and what was wrong with TLS, if it was."""

    why: str
    was_sent: bool
    tls: str | None = None


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
