"""How Avro names types: full names, the namespaces that complete them, and the aliases that stand for them.

The rules are those of "Names" and "Aliases" in the Avro 1.12 specification.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qmtl.foundation.schema.compatibility.avro.types import Named


def full_name(name: str, namespace: str) -> str:
    """A name with a dot is full; any other is completed by the namespace around it ("" is none)."""
    return name if "." in name or not namespace else f"{namespace}.{name}"


def defined_name(definition: Mapping[str, Any], namespace: str) -> str:
    """The full name of the type that a definition inside `namespace` defines."""
    own = definition.get("namespace")
    name = full_name(definition["name"], own if isinstance(own, str) else namespace)
    return name.removeprefix(".")


def namespace_of(name: str) -> str:
    return name.rpartition(".")[0]


def unqualified(name: str) -> str:
    return name.rpartition(".")[2]


def full_aliases(definition: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """An alias without a dot belongs to the namespace of the name that it is an alias for."""
    aliases = definition.get("aliases")
    if not aliases:
        return ()
    return tuple(full_name(alias, namespace_of(name)) for alias in aliases)


def same_name(writer: Named, reader: Named) -> bool:
    """Whether the reader's type has the writer's name: unqualified, or in full by an alias.

    "Both schemas are records with the same (unqualified) name"; an alias renames the one type whose full
    name it is.
    """
    return unqualified(writer.name) == unqualified(reader.name) or writer.name in reader.aliases
