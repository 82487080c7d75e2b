"""A registry behind a URL: any server with the REST API of Confluent's Schema Registry."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import quote

from qmtl.foundation.clock import Clock, SystemClock
from qmtl.foundation.errors import SchemaRegistryError
from qmtl.foundation.schema.compatibility.levels import Comparison, Level
from qmtl.foundation.schema.documents import Schema
from qmtl.foundation.schema.registry import registry_errors
from qmtl.foundation.schema.registry.contract import Mode, Registered, Usage, Version
from qmtl.foundation.schema.registry.rest import answers
from qmtl.foundation.schema.registry.rest.address import Address, Auth
from qmtl.foundation.schema.registry.rest.connection import Connection, Effect, UnansweredError
from qmtl.foundation.schema.registry.rest.recent import Recent
from qmtl.foundation.schema.registry.rest.records import RemoteRecords
from qmtl.foundation.schema.registry.rules.versions import MAX_NUMBER, checked_subject, checked_version

T = TypeVar("T")

# Schemas that are answered from memory by their id, and versions by their number.
_REMEMBERED = 10_000


class RemoteSchemaRegistryClient:
    """A `SchemaRegistry` at a URL; its methods are documented there.

    auth: (name, password), or a bearer token; or name and password stand in the URL. ca: a file (PEM) of the
        certificate authorities to trust.
    timeout_s: for each call, all attempts together.
    latest_s: what is known of a version is given again for so long, also of one with a number, which may be
        deleted. After a change by this client it is asked for.

    While the registry is down, ids that are known are answered, and versions as they were last seen, marked
    `is_stale`. All else, `check` above all, raises `RegistryUnavailableError`. Reads are asked up to three
    times. A write that got no answer is not repeated: a registration is looked for, and everything else
    raises an error that says so.

    A server that does not say what it compared gives comparisons with the rule `registry.message` and its own
    sentences, where it found something, and none where all is compatible.
    Safe to use from any thread, and after a fork. Needs `qmtl[schemas]`.
    """

    def __init__(
        self,
        url: str,
        *,
        auth: Auth | None = None,
        ca: str | os.PathLike[str] | None = None,
        timeout_s: float = 10.0,
        latest_s: float = 5.0,
        clock: Clock | None = None,
    ) -> None:
        """Raises `InvalidRequestError` for a URL that is none."""
        address = Address.read(url, auth)
        clock = clock or SystemClock()
        self.url = address.url
        self._connection = Connection(address, timeout_s=timeout_s, ca=ca, clock=clock)
        self._by_id: dict[int, Schema] = {}
        self._recent = Recent(clock, life_s=latest_s, most=_REMEMBERED)

    def __repr__(self) -> str:
        return f"RemoteSchemaRegistryClient({self.url!r})"

    def records(self) -> RemoteRecords:
        return RemoteRecords(self._connection)

    def close(self) -> None:
        """Close connections; a later call opens new ones."""
        self._connection.close()

    # Schemas

    def register(
        self,
        subject: str,
        schema: Schema | str,
        *,
        normalize: bool = False,
        version: int | None = None,
        id: int | None = None,
    ) -> Registered:
        for given in (version, id):
            if given is not None and checked_version(given) == "latest":
                raise registry_errors.invalid_version(given)
        wanted = _sent(schema)
        body = answers.schema_body(wanted)
        body |= {name: given for name, given in (("version", version), ("id", id)) if given is not None}
        flags = _flags(normalize=normalize)
        try:
            done_id, done_version = self._ask(
                "POST",
                f"{_subject(subject)}/versions",
                lambda value: (answers.number(value["id"]), value.get("version")),
                effect=Effect.WRITES,
                query=flags,
                body=body,
            )
        except UnansweredError as unanswered:
            return self._read_back(unanswered, subject, wanted, flags, (version, id))
        finally:
            self._recent.expire(subject)
        if type(done_version) is int:
            return Registered(subject, done_version, done_id, self.by_id(done_id))
        # Some servers answer the id alone.
        return self._looked_up(subject, wanted, flags)

    def lookup(
        self, subject: str, schema: Schema | str, *, normalize: bool = False, deleted: bool = False
    ) -> Registered:
        wanted = _sent(schema)
        return self._recent.answer(
            (subject, wanted, normalize, deleted),
            lambda: self._looked_up(subject, wanted, _flags(normalize=normalize, deleted=deleted)),
        )

    def by_id(self, id: int, *, subject: str | None = None) -> Schema:
        known = self._by_id.get(id)
        if known is not None:
            return known
        if not 1 <= id <= MAX_NUMBER:
            raise registry_errors.schema_not_found(f"with the id {id}")
        query = {} if subject is None else {"subject": checked_subject(subject)}
        return self._remembered(id, self._ask("GET", f"/schemas/ids/{id}", answers.schema_of, query=query))

    def version(self, subject: str, version: Version, *, deleted: bool = False) -> Registered:
        return self._recent.answer(
            (subject, version, deleted),
            lambda: self._found(
                "GET",
                f"{_subject(subject)}/versions/{checked_version(version)}",
                query=_flags(deleted=deleted),
            ),
        )

    def _looked_up(self, subject: str, schema: Schema, flags: Mapping[str, str]) -> Registered:
        return self._found("POST", _subject(subject), query=flags, body=answers.schema_body(schema))

    def _found(self, method: str, path: str, **more: Any) -> Registered:
        found = self._ask(method, path, answers.registered, **more)
        # One text for each id, however many versions have it.
        return found._replace(schema=self._remembered(found.id, found.schema))

    def _remembered(self, id: int, schema: Schema) -> Schema:
        known = self._by_id.get(id)
        if known == schema:
            return known
        if len(self._by_id) >= _REMEMBERED:
            self._by_id.clear()
        self._by_id[id] = schema
        return schema

    def _read_back(
        self,
        unanswered: UnansweredError,
        subject: str,
        schema: Schema,
        flags: Mapping[str, str],
        wanted: tuple[int | None, int | None],
    ) -> Registered:
        """What became of a registration without an answer; the error itself, if it is not there (yet)."""
        try:
            found = self._looked_up(subject, schema, flags)
        except SchemaRegistryError as error:
            raise unanswered from error
        if wanted[0] in (None, found.version) and wanted[1] in (None, found.id):
            return found
        raise unanswered

    # Listings

    def subjects(
        self, *, prefix: str = "", deleted: bool = False, deleted_only: bool = False
    ) -> tuple[str, ...]:
        # A server gives `:*:` at the beginning a meaning of its own.
        query = {"subjectPrefix": f":*:{prefix}" if prefix.startswith(":*:") else prefix} if prefix else {}
        query |= _flags(deleted=deleted, deletedOnly=deleted_only)
        return self._ask("GET", "/subjects", answers.texts, query=query)

    def versions(self, subject: str, *, deleted: bool = False, deleted_only: bool = False) -> tuple[int, ...]:
        query = _flags(deleted=deleted, deletedOnly=deleted_only)
        return self._ask("GET", f"{_subject(subject)}/versions", answers.numbers, query=query)

    def usages(self, id: int, *, deleted: bool = False) -> tuple[Usage, ...]:
        if not 1 <= id <= MAX_NUMBER:
            raise registry_errors.schema_not_found(f"with the id {id}")
        return self._ask("GET", f"/schemas/ids/{id}/versions", answers.usages, query=_flags(deleted=deleted))

    def referenced_by(self, subject: str, version: Version) -> tuple[int, ...]:
        path = f"{_subject(subject)}/versions/{checked_version(version)}/referencedby"
        return self._ask("GET", path, answers.numbers)

    # Deletion

    def delete_subject(self, subject: str, *, permanent: bool = False) -> tuple[int, ...]:
        return self._change(
            "DELETE", _subject(subject), answers.numbers, subject, _flags(permanent=permanent)
        )

    def delete_version(self, subject: str, version: Version, *, permanent: bool = False) -> int:
        path = f"{_subject(subject)}/versions/{checked_version(version)}"
        gone = self._change("DELETE", path, answers.number, subject, _flags(permanent=permanent))
        self._by_id.clear()
        return gone

    # Compatibility

    def check(
        self, subject: str, schema: Schema | str, *, version: Version | None = None, normalize: bool = False
    ) -> tuple[Comparison, ...]:
        one = "" if version is None else f"/{checked_version(version)}"
        answer = self._ask(
            "POST",
            f"/compatibility{_subject(subject)}/versions{one}",
            answers.verdict,
            query=_flags(normalize=normalize, verbose=True, whole=True),
            body=answers.schema_body(_sent(schema)),
        )
        if answer.comparisons is not None:
            return answer.comparisons
        return answers.from_sentences(
            answer.messages,
            version=version if isinstance(version, int) else 0,
            level=self.level(subject, or_global=True),
        )

    def level(self, subject: str | None = None, *, or_global: bool = False) -> Level:
        query = _flags(defaultToGlobal=or_global and subject is not None)
        return self._ask("GET", _setting("config", subject), answers.level, query=query)

    def set_level(self, level: Level | str, subject: str | None = None) -> Level:
        body = {"compatibility": str(level)}
        return self._change("PUT", _setting("config", subject), answers.level, subject, body=body)

    def clear_level(self, subject: str | None = None) -> Level:
        return self._change("DELETE", _setting("config", subject), answers.level, subject)

    # Modes

    def mode(self, subject: str | None = None, *, or_global: bool = False) -> Mode:
        query = _flags(defaultToGlobal=or_global and subject is not None)
        return self._ask("GET", _setting("mode", subject), answers.mode, query=query)

    def set_mode(self, mode: Mode | str, subject: str | None = None, *, force: bool = False) -> Mode:
        body = {"mode": str(mode)}
        path = _setting("mode", subject)
        chosen = self._change("PUT", path, answers.mode, subject, _flags(force=force), body=body)
        # An import may give ids of versions that were softly deleted.
        self._by_id.clear()
        return chosen

    def clear_mode(self, subject: str | None = None) -> Mode:
        return self._change("DELETE", _setting("mode", subject), answers.mode, subject)

    # Over the wire

    def _change(
        self,
        method: str,
        path: str,
        read: Callable[[Any], T],
        subject: str | None,
        query: Mapping[str, str] | None = None,
        *,
        body: Mapping[str, Any] | None = None,
    ) -> T:
        try:
            return self._ask(method, path, read, effect=Effect.WRITES, query=query, body=body)
        finally:
            self._recent.expire(subject)

    def _ask(
        self,
        method: str,
        path: str,
        read: Callable[[Any], T],
        *,
        effect: Effect = Effect.READS,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> T:
        reply = self._connection.exchange(method, path, effect, query=query, body=body)
        try:
            if 200 <= reply.status < 300:
                return read(reply.value)
            refusal = answers.refusal(reply)
        except (AttributeError, KeyError, TypeError, ValueError) as error:  # other JSON than a registry's
            raise self._connection.not_a_registry(reply) from error
        raise refusal


def _subject(subject: str) -> str:
    """The path of a subject. What is between two slashes of a URL may not be `.` or `..` (RFC 3986)."""
    return "/subjects/" + quote(checked_subject(subject), safe="").replace(".", "%2E")


def _setting(name: str, subject: str | None) -> str:
    return f"/{name}" if subject is None else f"/{name}{_subject(subject).removeprefix('/subjects')}"


def _flags(**flags: bool) -> dict[str, str]:
    return {name: "true" for name, is_set in flags.items() if is_set}


def _sent(schema: Schema | str) -> Schema:
    return Schema(schema) if isinstance(schema, str) else schema
