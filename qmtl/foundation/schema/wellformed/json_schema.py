"""Whether a JSON value is a JSON Schema of draft-07 or 2020-12, and whether every `$ref` leads somewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

from qmtl.foundation.errors import MissingDependencyError
from qmtl.foundation.schema.bounded_cache import BoundedCache
from qmtl.foundation.schema.documents import Document

if TYPE_CHECKING:
    from referencing import Resource

DRAFT_07 = "http://json-schema.org/draft-07/schema"
DRAFT_2020_12 = "https://json-schema.org/draft/2020-12/schema"


# Where a schema holds others by name, each read as if it stood alone.
_PARTS = {DRAFT_07: ("properties", "definitions"), DRAFT_2020_12: ("properties", "$defs")}
# Versions of a schema repeat most of their parts: those that are well formed, by dialect and text. The limit
# is in characters.
_well_formed: BoundedCache[tuple[str, str], bool] = BoundedCache(4 * 2**20)


def check(value: Any, references: Mapping[str, Document]) -> None:
    """Raises `ValueError`, which says what is wrong and where (a JSON Pointer into the schema)."""
    if not isinstance(value, dict | bool):
        raise ValueError("a JSON Schema is an object, true or false")
    _check_metaschema(value, dialect(value))
    _check_references(value, references)


def dialect(value: Any) -> str:
    """The dialect of a schema: what its `$schema` names, or 2020-12. Raises `ValueError` for another."""
    named = value.get("$schema", DRAFT_2020_12) if isinstance(value, dict) else DRAFT_2020_12
    if isinstance(named, str) and named.rstrip("#") in (DRAFT_07, DRAFT_2020_12):
        return named.rstrip("#")
    raise ValueError(f"$schema is {named!r}; read are {DRAFT_2020_12} and {DRAFT_07}")


def _check_metaschema(value: Any, named: str) -> None:
    rest, new = _without_known(value, named)
    if _first_error(rest, named) is None:
        for part in new:
            _well_formed.put(part, True, len(part[1]))
        return
    error = _first_error(value, named)
    place = "".join(f"/{step}" for step in error.absolute_path) or "the root"
    message = error.message if len(error.message) <= 200 else f"{error.message[:197]}..."
    raise ValueError(f"at {place}: {message}")


def _without_known(value: Any, named: str) -> tuple[Any, dict[tuple[str, str], None]]:
    """The schema without parts that are known to be well formed, and those that stay, by dialect and text.

    The metaschema requires the same of such a part as of a schema of its own, whatever its name.
    """
    new: dict[tuple[str, str], None] = {}
    if not isinstance(value, dict):
        return value, new
    rest = dict(value)
    for keyword in _PARTS[named]:
        if isinstance(value.get(keyword), dict):
            rest[keyword] = {}
            for name, part in value[keyword].items():
                key = (named, repr(part))
                if key not in new and _well_formed.get(key) is None:
                    rest[keyword][name] = part
                    new[key] = None
    return rest, new


def _first_error(value: Any, named: str) -> Any:
    try:
        from jsonschema import Draft7Validator, Draft202012Validator
        from jsonschema.exceptions import best_match
    except ImportError:
        raise MissingDependencyError("jsonschema", extra="schemas") from None
    kind = Draft7Validator if named == DRAFT_07 else Draft202012Validator
    # Of the formats `regex` matters: an expression that cannot be read cannot be applied.
    validator = kind(kind.META_SCHEMA, format_checker=kind.FORMAT_CHECKER)
    try:
        return best_match(validator.iter_errors(value))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _check_references(value: Any, references: Mapping[str, Document]) -> None:
    text = repr(value)
    if not any(keyword in text for keyword in ("$ref", "$dynamicRef", "$id")):
        return
    from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]  # it has no types
    from referencing.jsonschema import DRAFT7, DRAFT202012

    drafts = {DRAFT_07: DRAFT7, DRAFT_2020_12: DRAFT202012}
    draft = drafts[dialect(value)]
    root = draft.create_resource(value)
    base = root.id() or ""
    # A name may be what `$ref` says, or what it says once it is joined to the `$id`.
    others = {
        uri: drafts[dialect(document.value)].create_resource(document.value)
        for name, document in references.items()
        for uri in (name, urljoin(base, name))
    }
    resolver = REGISTRY.with_resources(others.items()).resolver_with_root(root)
    seen = {id(value)}
    waiting = list(_targets(resolver, root, seen))
    while waiting:
        target, keyword, found = waiting.pop()
        if id(found.contents) in seen:
            continue
        seen.add(id(found.contents))
        # It may lie where no schema is expected, so that nothing has looked at it yet; and it is read in the
        # dialect of the root, unless it names its own.
        if not isinstance(found.contents, dict | bool):
            raise ValueError(f"{keyword} {target!r} leads to {found.contents!r}, which is no schema")
        if isinstance(found.contents, dict) and "$schema" not in found.contents:
            _check_metaschema(found.contents, dialect(value))
            waiting.extend(_targets(found.resolver, draft.create_resource(found.contents), seen))


def _targets(resolver: Any, resource: Resource[Any], seen: set[int]) -> Iterator[tuple[str, str, Any]]:
    """What the schema and those inside of it refer to; those inside are added to `seen`."""
    from referencing.exceptions import Unresolvable

    contents = resource.contents
    seen.add(id(contents))
    for keyword in ("$ref", "$dynamicRef"):
        target = contents.get(keyword) if isinstance(contents, dict) else None
        if isinstance(target, str):
            try:
                yield target, keyword, resolver.lookup(target)
            except Unresolvable:
                raise ValueError(
                    f"{keyword} {target!r} leads nowhere: it is neither inside nor among the references"
                ) from None
    for inner in resource.subresources():
        yield from _targets(resolver.in_subresource(inner), inner, seen)
