"""Where a coordinator is, and the token for it, as texts that can be used."""

from __future__ import annotations

from urllib.parse import urlsplit

from qmtl.foundation.errors import InvalidRequestError


def checked_url(url: object) -> str:
    """The URL of a coordinator. Raises `InvalidRequestError`."""
    why = _why_not(url)
    if why is not None or not isinstance(url, str):
        # It is not shown, since a password may stand in it.
        raise InvalidRequestError(
            "`coordinator=` is not the URL of a coordinator",
            why=why,
            next_step="write it as http://host:port; a token goes into `coordinator_token=`",
        )
    return url


def _why_not(url: object) -> str | None:
    if not isinstance(url, str):
        return f"it is of the type {type(url).__name__}"
    if not url.isprintable() or any(one.isspace() for one in url):
        return "it holds a blank, a line end or a control character"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        # A text that cannot be cast to a port would be shown, and may be a password.
        return "its port is not from 1 to 65535" if "ort" in str(error) else "its host cannot be read"
    if parts.scheme not in ("http", "https"):
        return "it does not begin with http:// or https://"
    if "@" in url:
        return "it holds a user or password (or an @)"
    if "?" in url or "#" in url:
        return "something stands behind a ? or #"
    if not parts.hostname:
        return "it names no host"
    return "its port is not from 1 to 65535" if port == 0 else None


def checked_token(token: object) -> str | None:
    """A bearer token. Raises `InvalidRequestError` for one that cannot be sent, without showing it."""
    if token is None or (
        isinstance(token, str) and token.isascii() and token.isprintable() and " " not in token
    ):
        return token
    raise InvalidRequestError(
        "the token for the coordinator cannot be sent",
        why="it holds a blank, a line end, or other than printable ASCII"
        if isinstance(token, str)
        else f"it is of the type {type(token).__name__}",
        next_step="set `seamless.coordinator_token` in qmtl.yml, QMTL_SEAMLESS_COORDINATOR_TOKEN or "
        "`coordinator_token=` to the token alone",
    )
