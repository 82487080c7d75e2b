"""One subschema of a document: its keywords, what it refers to, and whether it accepts a value."""

from __future__ import annotations

import re
from collections.abc import Hashable
from functools import cached_property
from typing import Any, NamedTuple, Protocol

from qmtl.foundation.schema.bounded_cache import BoundedCache
from qmtl.foundation.schema.compatibility.json_schema.dialects import (
    Dialect,
    NamedSchemas,
    OneSchema,
    Schemas,
    Way,
    dialect_of,
    keywords,
)
from qmtl.foundation.schema.compatibility.json_schema.equality import has_type, key
from qmtl.foundation.schema.compatibility.json_schema.libraries import (
    libraries,
    specification_of,
    validator_class,
)

# Text that means something else in the other dialect, or elsewhere in a document.
_DEPENDS_ON_DIALECT = re.compile(
    r"'(?:\$schema|items|additionalItems|prefixItems|dependencies|dependentRequired|dependentSchemas"
    r"|minContains|maxContains|unevaluatedItems|unevaluatedProperties|\$ref|\$dynamicRef)':"
)
_DEPENDS_ON_POSITION = re.compile(r"'(?:\$ref|\$dynamicRef)':")
# Versions of a schema repeat most of their parts, and instances too, so answers of jsonschema are
# cached by content. The limit is in characters.
_accepting: BoundedCache[tuple[str, str, str], bool] = BoundedCache(4 * 2**20)
_LONGEST_CONTENT = 500
_MANY_PROPERTIES = 8
_NOTHING = object()
_SCALARS = (str, int, float, type(None))
# Keywords that can be decided without a validator.
_SIMPLE = frozenset(("type", "enum", "const", "x-unit"))


class UnresolvedReferenceError(Exception):
    """A `$ref` leads nowhere."""


class OwningDocument(Protocol):
    """What a node asks of the document that it belongs to.

    derived: how many schemas were derived from its nodes. resolver: that of `referencing`, at the root.
    signature: equal for documents that are equal together with all that they refer to.
    """

    dialect: Dialect
    has_references: bool
    has_units: bool
    derived: int

    @property
    def resolver(self) -> Any: ...

    @property
    def signature(self) -> str: ...

    def node(self, value: Any, within: SchemaNode, resolver: Any = None) -> SchemaNode:
        """The one node of `value`, which is an object of this document or of one it refers to."""
        ...


class SchemaNode:
    """One subschema. The same subschema of a document is always the same object."""

    def __init__(
        self, value: Any, document: OwningDocument, within: SchemaNode | None = None, resolver: Any = None
    ) -> None:
        self.value = value
        self.document = document
        self._within = within
        self._given_resolver = resolver
        # A number or text that jsonschema accepts here, as an object.
        self.accepted: Any = _NOTHING
        # What it is, case by case; see `Cases`.
        self.cases: Any = None
        self.dialect: Dialect = document.dialect if within is None else within.dialect
        if type(value) is dict and "$schema" in value:
            self.dialect = dialect_of(value, self.dialect)

    @cached_property
    def keywords(self) -> dict[str, Any]:
        """The keywords that decide, as 2020-12 names them; subschemas are nodes (in lists, or by name)."""
        if not isinstance(self.value, dict):
            return {}
        return {name: self._open(argument) for name, argument in keywords(self.value, self.dialect)}

    def _open(self, argument: Any) -> Any:
        match argument:
            case OneSchema():
                return self._at(tuple(argument))
            case Schemas():
                return [self._at(way) for way in argument]
            case NamedSchemas():
                return {name: self._at(way) for name, way in argument.items()}
        return argument

    def _at(self, way: Way) -> SchemaNode:
        value = self.value
        for step in way:
            value = value[step]
        return self.document.node(value, self)

    def derive(self, value: Any) -> SchemaNode:
        """A schema that is written nowhere, whose references mean what they would mean here."""
        text = repr(value)
        if text not in self._derived:
            self._derived[text] = SchemaNode(value, self.document, self)
            self.document.derived += 1
        return self._derived[text]

    @cached_property
    def _derived(self) -> dict[str, SchemaNode]:
        return {}

    @cached_property
    def settled(self) -> frozenset[tuple[str, str]]:
        """Names and texts of properties that mean the same wherever they stand (in this dialect)."""
        named = self.keywords.get("properties", {})
        return frozenset((name, one.text) for name, one in named.items() if not one.depends_on_position)

    @cached_property
    def inhabited(self) -> set[str]:
        """Types of which an instance was found that is not excluded here."""
        return set()

    @cached_property
    def target(self) -> SchemaNode:
        """What `$ref` leads to. Raises `UnresolvedReferenceError`."""
        referencing, _ = libraries()
        try:
            resolved = self.resolver.lookup(self.value["$ref"])
        except referencing.exceptions.Unresolvable as error:
            raise UnresolvedReferenceError(self.value["$ref"]) from error
        return self.document.node(resolved.contents, self, resolved.resolver)

    @property
    def behind(self) -> SchemaNode:
        """The node that is meant, if this one holds only references to it."""
        node, met = self, {self}
        while node.keywords.keys() == {"$ref"} and node.target not in met:
            node = node.target
            met.add(node)
        return node

    @cached_property
    def resolver(self) -> Any:
        if self._given_resolver is not None:
            return self._given_resolver
        if self._within is None:
            return self.document.resolver
        if not isinstance(self.value, dict) or "$id" not in self.value:
            return self._within.resolver
        return self._within.resolver.in_subresource(
            specification_of(self.dialect).create_resource(self.value)
        )

    @cached_property
    def text(self) -> str:
        """Equal only for the same value; the order of keys counts."""
        return repr(self.value)

    @cached_property
    def content(self) -> tuple[str, str] | None:
        """Dialect and text, if they say all; None where others are referred to, and for long texts."""
        if self.depends_on_position or len(self.text) > _LONGEST_CONTENT:
            return None
        return self.dialect.value, self.text

    @cached_property
    def levels(self) -> int:
        """How deep an instance can be asked to nest here, at most, if nothing is referred to."""
        return self.text.count("{")

    @cached_property
    def depends_on_position(self) -> bool:
        return self.document.has_references and _DEPENDS_ON_POSITION.search(self.text) is not None

    @cached_property
    def depends_on_dialect(self) -> bool:
        return _DEPENDS_ON_DIALECT.search(self.text) is not None

    @property
    def accepts_everything(self) -> bool:
        return self.value is not False and not self.keywords

    def accepts(self, value: Any) -> bool | None:
        """Whether `value` is valid here; None where it cannot be decided."""
        if self.value is False:
            return False
        if _SIMPLE.issuperset(self.keywords):
            types = self.keywords.get("type", ())
            types = [types] if isinstance(types, str) else types
            return (not types or any(has_type(value, name) for name in types)) and (
                self.listed is None or key(value) in self.listed
            )
        return self.confirms(value)

    @cached_property
    def keys_of(self) -> dict[str, frozenset[Hashable]]:
        """The keys of the values under `enum`, and of that under `const`."""
        lists = {"enum": self.keywords.get("enum", ()), "const": [self.keywords.get("const")]}
        return {name: frozenset(map(key, values)) for name, values in lists.items()}

    @cached_property
    def listed(self) -> dict[Hashable, Any] | None:
        """The values that `enum` and `const` allow, by their keys; None where neither is given."""
        lists = [self.keywords["enum"]] if "enum" in self.keywords else []
        lists += [[self.keywords["const"]]] if "const" in self.keywords else []
        if not lists:
            return None
        first = {key(value): value for value in lists[0]}
        others = [{key(value) for value in values} for values in lists[1:]]
        return {name: value for name, value in first.items() if all(name in names for names in others)}

    def confirms(self, value: Any) -> bool | None:
        """What jsonschema says of `value`; None where it cannot decide."""
        referencing, _ = libraries()
        try:
            validator = self._validator_of(value) if isinstance(value, dict) else self._validator
            return bool(validator.is_valid(value))
        except (re.error, RecursionError, OverflowError, referencing.exceptions.Unresolvable):
            # An expression that Python cannot read, a value or a chain of references that is too deep.
            return None
        except BaseException as error:
            # A RecursionError inside the compiled part of `referencing` comes out as a panic of its runtime.
            if type(error).__name__ != "PanicException":
                raise
            return None

    def _validator_of(self, value: dict[str, Any]) -> Any:
        """The validator, without the properties whose values jsonschema accepted before.

        What a property accepts is replaced by `true`, which accepts it too: so says `properties`.
        """
        named = self.keywords.get("properties", {})
        if len(named) < _MANY_PROPERTIES or self.depends_on_position:
            return self._validator
        short = {
            name: name not in value
            or value[name] is one.accepted
            or one.is_known_to_accept(value[name])
            or one.value
            for name, one in named.items()
        }
        return validator_class(self.dialect)({**self.value, "properties": short})

    def is_known_to_accept(self, value: Any) -> bool:
        """Whether jsonschema accepts `value`; False too where it cannot decide, or nothing is cached."""
        text = repr(value)
        if self.content is None or len(text) > _LONGEST_CONTENT:
            return False
        name = (*self.content, text)
        known = _accepting.get(name)
        if known is None:
            known = self.confirms(value) is True
            _accepting.put(name, known, sum(map(len, name)))
        # The same number or text again is the same value; a list could have been changed.
        if known and isinstance(value, _SCALARS):
            self.accepted = value
        return known

    @cached_property
    def _validator(self) -> Any:
        maker = validator_class(self.dialect)
        if self.depends_on_position:
            # jsonschema offers no public way to validate in the middle of a document.
            return maker(self.value, _resolver=self.resolver)
        return maker(self.value)


class Term(NamedTuple):
    """That an instance is valid against a node, or (`holds` False) that it is not."""

    node: SchemaNode
    holds: bool = True


Terms = tuple[Term, ...]


def same(one: SchemaNode, other: SchemaNode) -> bool:
    """Whether two nodes certainly accept the same: their texts and the texts of all they refer to agree."""
    if one is other:
        return True
    # Python takes 1 for True: equal values are the same text only if their types agree as well.
    if one.value != other.value or one.text != other.text:
        return False
    if one.dialect is not other.dialect and one.depends_on_dialect:
        return False
    if not one.depends_on_position:
        return True
    return one.document.signature == other.document.signature and _stand_alike(one, other)


def _stand_alike(one: SchemaNode, other: SchemaNode) -> bool:
    # In two equal documents, equal texts can still stand below different `$id`s.
    return '"$id"' not in one.document.signature
