"""Roles, and the credentials of a file that holds no secrets, only their hashes."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from qmtl.foundation.config_text import ConfigText
from qmtl.foundation.errors import InvalidRequestError

# RFC 7914 names these for interactive logins: 16 MiB and some tens of milliseconds for each guess.
_COST, _BLOCK, _PARALLEL = 2**14, 8, 1
# So many logins that were right are remembered, so that each password is stretched once.
_REMEMBERED = 1_000


class Role(IntEnum):
    """What one may do; each role includes those before it."""

    READ = 1
    WRITE = 2
    ADMIN = 3


class Entry(NamedTuple):
    """A user or token: the hash of the secret, as the file has it, and the role."""

    hashed: str
    role: Role


@dataclass
class Credentials:
    """Users with passwords (HTTP Basic, RFC 7617) and bearer tokens (RFC 6750), and the roles of each.

    users: by name; the hash as `password_hash` makes it. tokens: by any name; the SHA-256 in hexadecimal.
    """

    users: Mapping[str, Entry]
    tokens: Mapping[str, Entry]
    _known: dict[bytes, Role] = field(default_factory=dict, repr=False)
    _salt: bytes = field(default_factory=lambda: secrets.token_bytes(16), repr=False)

    def remembered(self, authorization: str) -> Role | None:
        """The role of a header that was right before. Costs microseconds."""
        return self._known.get(self._mark(authorization))

    def role_of(self, authorization: str) -> Role | None:
        """The role of an `Authorization` header; None if it is wrong. May stretch a password for 50 ms."""
        scheme, _, given = authorization.partition(" ")
        check = {"basic": self._basic, "bearer": self._bearer}.get(scheme.lower())
        role = None if check is None else check(given.strip())
        if role is not None:
            while len(self._known) >= _REMEMBERED:
                self._known.pop(next(iter(self._known)), None)
            self._known[self._mark(authorization)] = role
        return role

    def _basic(self, given: str) -> Role | None:
        try:
            name, colon, password = base64.b64decode(given, validate=True).decode().partition(":")
        except ValueError:  # no Base64, or no UTF-8
            return None
        # An unknown name costs as much as a known one, so that time does not reveal which names exist.
        entry = self.users.get(name)
        fits = _fits(password, _nobody() if entry is None else entry.hashed)
        return entry.role if entry is not None and colon and fits else None

    def _bearer(self, given: str) -> Role | None:
        found = hashlib.sha256(given.encode(errors="surrogateescape")).hexdigest()
        fitting = [entry.role for entry in self.tokens.values() if hmac.compare_digest(found, entry.hashed)]
        return fitting[0] if fitting else None

    def _mark(self, authorization: str) -> bytes:
        given = authorization.encode(errors="surrogateescape")
        return hashlib.blake2b(given, key=self._salt, digest_size=16).digest()

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Credentials:
        """From a YAML or JSON file; raises `InvalidRequestError` with the place of what is wrong.

        users:
          alice: {role: admin, scrypt: "16384:8:1:..."}
        tokens:
          ingest: {role: write, sha256: "9f86d081..."}
        """
        text = ConfigText.read(Path(path))
        found: dict[str, dict[str, Entry]] = {"users": {}, "tokens": {}}
        for section, entries in text.data.items():
            if section not in found or not isinstance(entries, dict):
                raise _wrong(path, f"{section!r} is not known, or holds no names")
            for name, entry in entries.items():
                found[section][str(name)] = _entry(path, section, str(name), entry)
        if not any(found.values()):
            raise _wrong(path, "it names nobody")
        return cls(found["users"], found["tokens"])


def password_hash(password: str) -> str:
    """What stands in a credentials file for a password: scrypt's cost, block, parallelism, salt and key."""
    salt = os.urandom(16)
    key = _stretched(password, salt, _COST, _BLOCK, _PARALLEL)
    return ":".join(
        [f"{_COST}:{_BLOCK}:{_PARALLEL}", base64.b64encode(salt).decode(), base64.b64encode(key).decode()]
    )


def token_hash(token: str) -> str:
    """What stands in a credentials file for a bearer token. A token must be long and random (32 bytes)."""
    return hashlib.sha256(token.encode()).hexdigest()


def _stretched(password: str, salt: bytes, cost: int, block: int, parallel: int) -> bytes:
    room = 2 * 128 * cost * block * parallel
    return hashlib.scrypt(password.encode(), salt=salt, n=cost, r=block, p=parallel, maxmem=room, dklen=32)


def _fits(password: str, hashed: str) -> bool:
    cost, block, parallel, salt, key = hashed.split(":")
    found = _stretched(password, base64.b64decode(salt), int(cost), int(block), int(parallel))
    return hmac.compare_digest(found, base64.b64decode(key))


def _entry(path: str | os.PathLike[str], section: str, name: str, entry: Any) -> Entry:
    hashing = "scrypt" if section == "users" else "sha256"
    place = f"{section}.{name}"
    if not isinstance(entry, dict) or set(entry) != {"role", hashing}:
        raise _wrong(path, f"{place} must hold 'role' and {hashing!r}, and nothing else")
    role = str(entry["role"]).upper()
    if role not in Role.__members__:
        raise _wrong(path, f"the role of {place} is {entry['role']!r}, not read, write or admin")
    hashed = str(entry[hashing])
    try:
        if section == "users":
            _fits("", hashed)
        elif len(bytes.fromhex(hashed)) != 32:
            raise ValueError("not 32 bytes")
    except ValueError as failure:
        raise _wrong(path, f"the {hashing} of {place} is no such hash: {failure}") from failure
    return Entry(hashed.lower() if section == "tokens" else hashed, Role[role])


def _wrong(path: str | os.PathLike[str], why: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"the credentials of {os.fspath(path)} cannot be used",
        why=why,
        next_step="`qmtl serve registry --help` shows the form of the file, which all services share",
    )


@cache
def _nobody() -> str:
    return password_hash(secrets.token_hex())
