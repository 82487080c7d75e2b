"""What a schema registry promises, wherever it runs: in this process, or behind a URL."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, NamedTuple, Protocol, TypeAlias

from qmtl.foundation.schema.compatibility.levels import Comparison, Level
from qmtl.foundation.schema.documents import Schema
from qmtl.foundation.schema.governance.decisions import GovernanceRecords

Version: TypeAlias = int | Literal["latest"]


class Mode(StrEnum):
    """What may be changed: all, nothing, or (IMPORT) versions and ids that were given elsewhere."""

    READWRITE = "READWRITE"
    READONLY = "READONLY"
    IMPORT = "IMPORT"


class Registered(NamedTuple):
    """One version of a subject. `schema.text` is in the stored form (see canonical_form).

    is_stale: the registry could not be asked, and this was its last answer; it may have changed since.
    """

    subject: str
    version: int
    id: int
    schema: Schema
    is_stale: bool = False


class Usage(NamedTuple):
    """One place where a schema is registered."""

    subject: str
    version: int


class SchemaRegistry(Protocol):
    """Subjects, their versions and the rules for them, answered as Confluent's registry answers.

    A schema is a `Schema`, or the text of an Avro schema without references. Two are the same if their types,
    their references and their stored texts (see canonical_form) are equal. For Avro the stored text is what
    Avro's own parser prints, so order and spelling of attributes do not count; for JSON Schema it is the text
    without white space.

    Versions and ids start at 1; an id stands for one schema under whatever subjects, and never for another. A
    subject is any text but an empty one, one with control characters, or one over 255 bytes of UTF-8 (42208).

    Raises `SchemaRegistryError`, whose `code` is Confluent's `error_code`, and `RegistryUnavailableError`
    where it cannot be reached. Every subject that is asked for may be unknown (40401), every version (40402).
    A version is a number from 1 to 2**31 - 1, or "latest"; others are refused (42202).
    """

    def close(self) -> None:
        """Close connections and files; a later call opens them anew."""
        ...

    def register(
        self,
        subject: str,
        schema: Schema | str,
        *,
        normalize: bool = False,
        version: int | None = None,
        id: int | None = None,
    ) -> Registered:
        """The schema as a version of the subject: the one that it has, or a new one.

        normalize: more texts that mean the same are the same schema, and the normal text is
            stored (see canonical_form).
        version, id: where they were given elsewhere; only in mode IMPORT. Nothing is compared then.

        What is there already is answered in any mode. Raises 42201 for a schema that cannot be read, 42209
        for one over 1 MiB, 42205 in mode READONLY, for a version or id outside of IMPORT, none within it, or
        one that is taken, 42207 for another id than the schema has, and `IncompatibleSchemaError` (40901).
        """
        ...

    def lookup(
        self, subject: str, schema: Schema | str, *, normalize: bool = False, deleted: bool = False
    ) -> Registered:
        """The newest version of the subject that has this schema; 40403 without one, 42201 for what is no
        schema.

        deleted: those that were softly deleted count too.
        """
        ...

    def by_id(self, id: int, *, subject: str | None = None) -> Schema:
        """The schema of an id; 40403 without one, and where its last version was permanently deleted.

        Known ids are answered from memory, so an id that another client deleted may still be answered.
        subject: ids are global, so it changes nothing; Confluent's clients send it, for contexts.
        """
        ...

    def version(self, subject: str, version: Version, *, deleted: bool = False) -> Registered:
        """One version. deleted: also one that was softly deleted, and "latest" counts these."""
        ...

    def subjects(
        self, *, prefix: str = "", deleted: bool = False, deleted_only: bool = False
    ) -> tuple[str, ...]:
        """Subjects in order. deleted: also those all of whose versions are softly deleted; or only those."""
        ...

    def versions(self, subject: str, *, deleted: bool = False, deleted_only: bool = False) -> tuple[int, ...]:
        """The numbers of the subject's versions, in order."""
        ...

    def usages(self, id: int, *, deleted: bool = False) -> tuple[Usage, ...]:
        """Where the schema of an id is registered, in order; 40403 without it."""
        ...

    def referenced_by(self, subject: str, version: Version) -> tuple[int, ...]:
        """Ids of schemas in use (not softly deleted) that refer to this version, in order."""
        ...

    def delete_subject(self, subject: str, *, permanent: bool = False) -> tuple[int, ...]:
        """The numbers of the versions that were deleted.

        A softly deleted version is kept, takes no part in compatibility, and its number is not given again.
        It loses its own level and mode. A permanent deletion needs the soft one first (40405); a second soft
        one is 40404. Raises 42206 where another schema refers to one of the versions (for the permanent one
        also a softly deleted schema, which must stay readable), and 42205 in mode READONLY.
        """
        ...

    def delete_version(self, subject: str, version: Version, *, permanent: bool = False) -> int:
        """Its number; as `delete_subject`, with 40407 and 40406."""
        ...

    def check(
        self, subject: str, schema: Schema | str, *, version: Version | None = None, normalize: bool = False
    ) -> tuple[Comparison, ...]:
        """The comparisons that registering the schema would make, without registering it.

        Against "latest" or a number it is compared with that version alone, in the directions of the
        subject's level; against None with those that the level names. Nothing to compare with, so also an
        unknown subject, gives no comparisons; a number that is not there is 40402.
        """
        ...

    def level(self, subject: str | None = None, *, or_global: bool = False) -> Level:
        """The level of the subject, or the global one. 40408 where a subject has none of its own."""
        ...

    def set_level(self, level: Level | str, subject: str | None = None) -> Level:
        """The level now in force. 42203 for a text that is no level."""
        ...

    def clear_level(self, subject: str | None = None) -> Level:
        """Back to the global level, or of that to BACKWARD; gives what was set. 40401 for a subject without
        one.
        """
        ...

    def mode(self, subject: str | None = None, *, or_global: bool = False) -> Mode:
        """The mode of the subject, or the global one. 40409 where a subject has none of its own."""
        ...

    def set_mode(self, mode: Mode | str, subject: str | None = None, *, force: bool = False) -> Mode:
        """The mode now in force. 42204 for a text that is no mode.

        IMPORT, unless it is `force`d, requires that no version is registered there (42205), and permanently
        deletes softly deleted versions there, so that an import may give their numbers.
        """
        ...

    def clear_mode(self, subject: str | None = None) -> Mode:
        """Back to the global mode, or of that to READWRITE; gives what was set. 40401 for a subject without
        one.
        """
        ...

    def records(self) -> GovernanceRecords:
        """Decisions and observations, stored beside the subjects that they are about."""
        ...
