"""The rows of a registry, and the few operations that it needs of the storage that keeps them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Literal, NamedTuple, Protocol, TypeAlias

from qmtl.foundation.schema.documents import Schema

Setting: TypeAlias = Literal["level", "mode"]


class SchemaRow(NamedTuple):
    """A schema and its id. Rows of one `identity` are one schema (see canonical_form).

    A registry gives it one id; a file of the first format may have given it several.
    """

    id: int
    identity: str
    schema: Schema


class VersionRow(NamedTuple):
    """A version of a subject; `deleted` softly, or not."""

    subject: str
    version: int
    id: int
    deleted: bool = False


class Record(NamedTuple):
    """A value that governance keeps beside a subject: JSON text, whose meaning is its writer's alone."""

    kind: str
    subject: str
    key: str
    value: str


class RegistryView(Protocol):
    """The rows as they are within one transaction. Sequences come in the order of their keys.

    Subjects compare by code points. Nothing is checked here but that a row is there: the rules are the
    registry's.
    """

    def schema(self, id: int) -> SchemaRow | None: ...

    def schemas_of(self, identity: str) -> Sequence[SchemaRow]:
        """All rows of this identity, by id."""
        ...

    def last_id(self) -> int:
        """The highest id that ever had a row, removed or not; 0 before. No id is ever given twice."""
        ...

    def add_schema(self, row: SchemaRow) -> None: ...

    def remove_schema(self, id: int) -> None:
        """Called when the last version row of the id is gone."""
        ...

    def subjects(self, prefix: str = "") -> Sequence[tuple[str, bool]]:
        """Subjects that have version rows, and whether all of these are softly deleted."""
        ...

    def versions(self, subject: str) -> Sequence[VersionRow]:
        """All version rows of the subject, softly deleted ones too, by version."""
        ...

    def latest(self, subject: str, *, deleted: bool) -> VersionRow | None:
        """The row of the highest version; with `deleted` softly deleted ones count too."""
        ...

    def versions_of(self, subject: str, id: int) -> Sequence[VersionRow]:
        """The version rows of the subject that have this id, softly deleted ones too, by version."""
        ...

    def usages(self, id: int) -> Sequence[VersionRow]:
        """All version rows of an id, softly deleted ones too, by subject and version."""
        ...

    def referrers(self, subject: str, version: int) -> Sequence[int]:
        """Ids of all schema rows with a reference to this version."""
        ...

    def put_version(self, row: VersionRow) -> None:
        """Adds the row, or replaces that of the same subject and version."""
        ...

    def remove_version(self, subject: str, version: int) -> None: ...

    def setting(self, name: Setting, subject: str) -> str | None:
        """The value set for a subject; the subject "" is the whole registry."""
        ...

    def put_setting(self, name: Setting, subject: str, value: str | None) -> None:
        """Sets it, or with None takes it away."""
        ...

    def records(self, kind: str, subject: str, *, after: str = "") -> Sequence[Record]:
        """Records of one kind and subject whose key is greater than `after`, by key."""
        ...

    def put_record(self, record: Record) -> None:
        """Adds the record, or replaces that of the same kind, subject and key."""
        ...


class RegistryStorage(Protocol):
    """Where a registry keeps its rows. Safe to use from any thread.

    Raises `SchemaRegistryError` (50001) where it cannot read or write.
    """

    def reading(self) -> AbstractContextManager[RegistryView]:
        """One state of all rows, which does not change while it is read."""
        ...

    def writing(self) -> AbstractContextManager[RegistryView]:
        """The only writer, from its first read until it ends: then all of it is kept, durably, or with an
        exception nothing.
        """
        ...

    def close(self) -> None: ...
