"""Rows of a registry in memory, with transactions that can be undone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from operator import attrgetter
from threading import RLock
from typing import Any

from qmtl.foundation.schema.registry.storage import Record, RegistryView, SchemaRow, Setting, VersionRow

_ABSENT: Any = object()


class MemoryStorage:
    """A `RegistryStorage` that ends with its process. One transaction runs at a time."""

    def __init__(self) -> None:
        self._lock = RLock()
        self._rows = _Rows()

    @contextmanager
    def reading(self) -> Iterator[RegistryView]:
        with self._lock:
            yield self._rows

    @contextmanager
    def writing(self) -> Iterator[RegistryView]:
        with self._lock:
            try:
                yield self._rows
            except BaseException:
                self._rows.undo()
                raise
            self._rows.keep()

    def close(self) -> None:
        """There is nothing to close."""


_version = attrgetter("version")


class _Rows:
    """The tables, and how to undo what was changed since the last `keep`."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}
        self._schemas: dict[int, SchemaRow] = {}
        self._ids: dict[str, dict[int, None]] = {}
        self._versions: dict[str, dict[int, VersionRow]] = {}
        self._usages: dict[int, dict[tuple[str, int], VersionRow]] = {}
        self._referrers: dict[tuple[str, int], dict[int, None]] = {}
        self._settings: dict[tuple[Setting, str], str] = {}
        self._records: dict[tuple[str, str], dict[str, Record]] = {}
        self._undo: list[Callable[[], None]] = []

    def schema(self, id: int) -> SchemaRow | None:
        return self._schemas.get(id)

    def schemas_of(self, identity: str) -> Sequence[SchemaRow]:
        return [self._schemas[id] for id in sorted(self._ids.get(identity, {}))]

    def last_id(self) -> int:
        return self._last.get("id", 0)

    def add_schema(self, row: SchemaRow) -> None:
        self._set(self._last, "id", max(row.id, self.last_id()))
        self._set(self._schemas, row.id, row)
        self._set(self._ids.setdefault(row.identity, {}), row.id, None)
        for reference in row.schema.references:
            self._set(self._referrers.setdefault((reference.subject, reference.version), {}), row.id, None)

    def remove_schema(self, id: int) -> None:
        row = self._schemas[id]
        self._set(self._schemas, id, _ABSENT)
        self._set(self._ids[row.identity], id, _ABSENT)
        for reference in row.schema.references:
            self._set(self._referrers[reference.subject, reference.version], id, _ABSENT)

    def subjects(self, prefix: str = "") -> Sequence[tuple[str, bool]]:
        return [
            (subject, all(row.deleted for row in rows.values()))
            for subject, rows in sorted(self._versions.items())
            if rows and subject.startswith(prefix)
        ]

    def versions(self, subject: str) -> Sequence[VersionRow]:
        return [row for _, row in sorted(self._versions.get(subject, {}).items())]

    def latest(self, subject: str, *, deleted: bool) -> VersionRow | None:
        rows = self._versions.get(subject, {}).values()
        return max((row for row in rows if deleted or not row.deleted), key=_version, default=None)

    def versions_of(self, subject: str, id: int) -> Sequence[VersionRow]:
        return [row for row in self.usages(id) if row.subject == subject]

    def usages(self, id: int) -> Sequence[VersionRow]:
        return [row for _, row in sorted(self._usages.get(id, {}).items())]

    def referrers(self, subject: str, version: int) -> Sequence[int]:
        return sorted(self._referrers.get((subject, version), {}))

    def put_version(self, row: VersionRow) -> None:
        self.remove_version(row.subject, row.version)
        self._set(self._versions.setdefault(row.subject, {}), row.version, row)
        self._set(self._usages.setdefault(row.id, {}), (row.subject, row.version), row)

    def remove_version(self, subject: str, version: int) -> None:
        row = self._versions.get(subject, {}).get(version)
        if row is not None:
            self._set(self._versions[subject], version, _ABSENT)
            self._set(self._usages[row.id], (subject, version), _ABSENT)

    def setting(self, name: Setting, subject: str) -> str | None:
        return self._settings.get((name, subject))

    def put_setting(self, name: Setting, subject: str, value: str | None) -> None:
        self._set(self._settings, (name, subject), _ABSENT if value is None else value)

    def records(self, kind: str, subject: str, *, after: str = "") -> Sequence[Record]:
        rows = sorted(self._records.get((kind, subject), {}).items())
        return [record for key, record in rows if key > after]

    def put_record(self, record: Record) -> None:
        self._set(self._records.setdefault((record.kind, record.subject), {}), record.key, record)

    def keep(self) -> None:
        self._undo.clear()

    def undo(self) -> None:
        for step in reversed(self._undo):
            step()
        self._undo.clear()

    def _set(self, table: dict[Any, Any], key: object, value: object) -> None:
        old = table.get(key, _ABSENT)
        self._undo.append(lambda: _put(table, key, old))
        _put(table, key, value)


def _put(table: dict[Any, Any], key: object, value: object) -> None:
    if value is _ABSENT:
        table.pop(key, None)
    else:
        table[key] = value
