"""Which field of the writer feeds which field of the reader: "fields are matched by name", or by alias.

Where a name and an alias compete, the name wins; each field of the writer feeds one field at most, the first
whose aliases ask for it. The specification leaves both open.
"""

from __future__ import annotations

from typing import NamedTuple

from qmtl.foundation.schema.compatibility.avro.types import Field, Record


class Pairing(NamedTuple):
    """`pairs` in the order of the reader's fields; nothing was written for those that are `unfed`."""

    pairs: tuple[tuple[Field, Field], ...]
    unfed: tuple[Field, ...]


def pair_fields(writer: Record, reader: Record) -> Pairing:
    written = writer.by_name
    by_name = reader.by_name.keys() & written.keys()
    free = written.keys() - by_name
    pairs: list[tuple[Field, Field]] = []
    unfed: list[Field] = []
    for field in reader.fields:
        source = field.name if field.name in by_name else _first(field.aliases, free)
        if source is None:
            unfed.append(field)
            continue
        free.discard(source)
        pairs.append((written[source], field))
    return Pairing(tuple(pairs), tuple(unfed))


def _first(aliases: tuple[str, ...], free: set[str]) -> str | None:
    return next((alias for alias in aliases if alias in free), None)
