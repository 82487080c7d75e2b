"""Paths of this machine, and addresses that only look like them: `s3://bucket` never becomes a folder."""

from __future__ import annotations

import os
import re
from pathlib import Path

from qmtl.foundation.errors import InvalidRequestError

# One letter is a drive of Windows. A `Path` has lost the second slash by the time it gets here.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")

_BEGINS_AS_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:(?!/)")


def is_address(text: str) -> bool:
    """Whether it begins with a scheme, as s3://bucket does."""
    return _SCHEME.match(text) is not None


def names_server(text: str) -> bool:
    """Whether a text is meant as the address of a store on a server, see `StoreAddress`."""
    return re.match(r"(postgresql|postgres):", text, re.IGNORECASE) is not None


def names_questdb(text: str) -> bool:
    """Whether a text is meant as the address of a store whose rows lie in QuestDB, see `QuestDBAddress`."""
    return re.match(r"questdb:", text, re.IGNORECASE) is not None


def local_path(path: str | os.PathLike[str], what: str) -> Path:
    """The path, unless it is an address of another kind, which is refused.

    what: what it should name, such as "a store". Raises `InvalidRequestError`; no file system is asked.
    """
    text = os.fspath(path)
    found = _SCHEME.match(text)
    if found is None:
        return Path(text)
    scheme = found[1]
    shown = text if "://" in text else text.replace(":/", "://", 1)
    raise InvalidRequestError(
        f"{without_password(shown)} is not served: {what} is a path of this machine",
        why=f"there is no support for {scheme}:// here",
        next_step=f"write the path itself, {shown[len(scheme) + 3 :]!r}"
        if scheme.lower() == "file"
        else "name a path such as ./bars, and copy to or from elsewhere with other tools",
    )


def folder_path(path: str | os.PathLike[str], what: str) -> Path:
    """The path of a folder that may be made: as `local_path`, and a text must look like a path.

    A text such as mem: or file:x is meant as an address, and would become a folder of that name. A `Path` is
    taken by its word.
    """
    text = os.fspath(path)
    if not text.strip() or "\0" in text:
        raise InvalidRequestError(
            f"{what} needs a path, and {text!r} is none", next_step="name a folder such as ./bars"
        )
    if isinstance(path, str) and (found := _BEGINS_AS_ADDRESS.match(text)):
        raise InvalidRequestError(
            f"{without_password(text)!r} is not served: {what} is a path of this machine",
            why=f"{found[0]} begins an address",
            next_step=f"write ./{text} for a folder of that name",
        )
    return local_path(path, what)


def web_address(url: str) -> str:
    """The address, if it is one of HTTP; anything else raises `InvalidRequestError`."""
    if re.match(r"https?://[^/]", url) is None:
        raise InvalidRequestError(
            f"`urls=` {without_password(url)!r} is not a URL of HTTP",
            next_step="write http://host:port or https://host",
        )
    return url


def without_password(url: str) -> str:
    """An address that can be shown: what stands before its host is left out."""
    return re.sub(r"://[^/@]*@", "://...@", url)
