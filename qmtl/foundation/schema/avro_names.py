"""How Avro calls its types: primitive, complex, and by full names (specification 1.12, "Names")."""

from __future__ import annotations

import re

PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})
NAMED = frozenset({"record", "enum", "fixed"})

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def is_name(text: object) -> bool:
    return isinstance(text, str) and _NAME.fullmatch(text) is not None


def is_namespace(text: object) -> bool:
    """Names with dots between them; the empty text is the null namespace."""
    return isinstance(text, str) and (text == "" or all(map(is_name, text.split("."))))


def full_name(name: str, namespace: str) -> str:
    """A name with a dot is full; another lies in the namespace around it."""
    return name if "." in name or not namespace else f"{namespace}.{name}"


def defined_name(name: str, given: str | None, around: str) -> str:
    """The full name of a type that is defined: by its dots, its own namespace, or the one around it."""
    return full_name(name, around if given is None else given)


def namespace_of(full: str) -> str:
    return full.rpartition(".")[0]
