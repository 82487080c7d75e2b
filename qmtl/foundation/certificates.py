"""Which authorities vouch for servers here, and what is wrong where a server's certificate is refused."""

from __future__ import annotations

import os
import ssl
from importlib.util import find_spec
from typing import NamedTuple

from qmtl.foundation.errors import InvalidRequestError

# Read by OpenSSL, Python's own HTTP, httpx, and by the ccxt vendor here; the first that is set goes first.
VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR")

ADVICE = (
    "set SSL_CERT_FILE to a PEM file with the authorities to trust, such as that of your company's proxy; "
    "'qmtl doctor' says which are trusted now"
)


class Trust(NamedTuple):
    """Where the trusted authorities come from. source: a variable, a package or the system; path: of them."""

    source: str
    path: str

    def __str__(self) -> str:
        return f"{self.source}: {self.path}"


def trusted() -> Trust:
    """The authorities that every connection of this process trusts."""
    for name in VARIABLES:
        if os.environ.get(name):
            return Trust(name, os.environ[name])
    if find_spec("certifi") is not None:  # it comes with ccxt and with httpx
        import certifi

        return Trust("the package certifi", certifi.where())
    paths = ssl.get_default_verify_paths()
    return Trust("the system", paths.cafile or paths.capath or paths.openssl_cafile)


def trusted_context() -> ssl.SSLContext:
    """A context that trusts them. Raises `InvalidRequestError` where they cannot be read."""
    trust = trusted()
    try:
        if os.path.isdir(trust.path):
            return ssl.create_default_context(capath=trust.path)
        return ssl.create_default_context(cafile=trust.path)
    except OSError as error:  # ssl.SSLError is one
        raise InvalidRequestError(
            f"the certificate authorities of {trust} cannot be read",
            why=error.strerror or str(error),
            next_step=f"correct {trust.source}: the path of a PEM file",
        ) from error


def tls_problem(error: BaseException | None) -> str | None:
    """What was wrong with a server's certificate, or with TLS at all; None if that was not the problem.

    Looks through the causes of an error: clients wrap what TLS says several times.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        # aiohttp's errors call themselves by these classes too, but only their cause has the facts.
        reason, verdict = getattr(error, "reason", None), getattr(error, "verify_message", None)
        if isinstance(error, ssl.SSLCertVerificationError) and verdict:
            return f"its certificate is not trusted: {verdict}"
        if isinstance(error, ssl.SSLError) and reason == "WRONG_VERSION_NUMBER":
            return "it does not speak TLS there; its address may have to begin with http://"
        if isinstance(error, ssl.SSLError) and reason:
            return f"TLS failed: {reason}"
        error = error.__cause__ or error.__context__
    return None


def advice(problem: str) -> str:
    """What to do about a `tls_problem`."""
    return ADVICE if "certificate" in problem else "see whether a proxy or a firewall stands in between"
