"""A subschema where it stands: what it says, what it refers to, and whether it accepts a value."""

from __future__ import annotations

import re
from collections.abc import Hashable
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

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
from qmtl.foundation.schema.kept import Kept

if TYPE_CHECKING:
    from qmtl.foundation.schema.compatibility.json_schema.opened import Opened

# Text that means something else in the other dialect, or elsewhere in a document.
_DEPENDS_ON_DIALECT = re.compile(
    r"'(?:\$schema|items|additionalItems|prefixItems|dependencies|dependentRequired|dependentSchemas"
    r"|minContains|maxContains|unevaluatedItems|unevaluatedProperties|\$ref|\$dynamicRef)':"
)
_DEPENDS_ON_POSITION = re.compile(r"'(?:\$ref|\$dynamicRef)':")
# Versions of a schema repeat most of their parts, and instances too: what jsonschema said is kept by content.
# The room is in characters.
_accepting: Kept[tuple[str, str, str], bool] = Kept(4 * 2**20)
_LONGEST_CONTENT = 500
_MANY_PROPERTIES = 8
_NOTHING = object()
_SCALARS = (str, int, float, type(None))
# What can be said of a value without a validator.
_SIMPLE = frozenset(("type", "enum", "const", "x-unit"))


class UnresolvedReferenceError(Exception):
    """A `$ref` leads nowhere."""


class Place:
    """One subschema. The same subschema of a document is always the same object."""

    def __init__(self, value: Any, home: Opened, within: Place | None = None, resolver: Any = None) -> None:
        self.value = value
        self.home = home
        self._within = within
        self._given_resolver = resolver
        # A number or text that jsonschema accepts here, as an object.
        self.accepted: Any = _NOTHING
        # What it is, case by case; see `Cases`.
        self.cases: Any = None
        self.dialect: Dialect = home.dialect if within is None else within.dialect
        if type(value) is dict and "$schema" in value:
            self.dialect = dialect_of(value, self.dialect)

    @cached_property
    def keywords(self) -> dict[str, Any]:
        """What decides, in the words of 2020-12; subschemas are places (in lists, or by name)."""
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

    def _at(self, way: Way) -> Place:
        value = self.value
        for step in way:
            value = value[step]
        return self.home.place(value, self)

    def derive(self, value: Any) -> Place:
        """A schema that is written nowhere, whose references mean what they would mean here."""
        text = repr(value)
        if text not in self._derived:
            self._derived[text] = Place(value, self.home, self)
            self.home.derived += 1
        return self._derived[text]

    @cached_property
    def _derived(self) -> dict[str, Place]:
        return {}

    @cached_property
    def settled(self) -> frozenset[tuple[str, str]]:
        """Names and texts of properties that mean the same wherever they stand (in this dialect)."""
        named = self.keywords.get("properties", {})
        return frozenset((name, one.text) for name, one in named.items() if not one.depends_on_position)

    @cached_property
    def inhabited(self) -> set[str]:
        """Types of which an instance was found that nothing here speaks against."""
        return set()

    @cached_property
    def target(self) -> Place:
        """What `$ref` leads to. Raises `UnresolvedReferenceError`."""
        referencing, _ = libraries()
        try:
            resolved = self.resolver.lookup(self.value["$ref"])
        except referencing.exceptions.Unresolvable as error:
            raise UnresolvedReferenceError(self.value["$ref"]) from error
        return self.home.place(resolved.contents, self, resolved.resolver)

    @property
    def behind(self) -> Place:
        """The place that is meant, if this one is nothing but references to it."""
        place, met = self, {self}
        while place.keywords.keys() == {"$ref"} and place.target not in met:
            place = place.target
            met.add(place)
        return place

    @cached_property
    def resolver(self) -> Any:
        if self._given_resolver is not None:
            return self._given_resolver
        if self._within is None:
            return self.home.resolver
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
        return self.home.has_references and _DEPENDS_ON_POSITION.search(self.text) is not None

    @cached_property
    def depends_on_dialect(self) -> bool:
        return _DEPENDS_ON_DIALECT.search(self.text) is not None

    @property
    def accepts_everything(self) -> bool:
        return self.value is not False and not self.keywords

    def accepts(self, value: Any) -> bool | None:
        """Whether `value` is valid here; None where it cannot be told."""
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
        """What jsonschema says of `value`; None where it cannot tell."""
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
        """The validator, without asking again what it said before of properties and their values.

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
        """Whether jsonschema accepts `value`; False too where it cannot tell, and where nobody keeps it."""
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
    """That an instance is valid against a place, or (`holds` False) that it is not."""

    place: Place
    holds: bool = True


Terms = tuple[Term, ...]


def same(one: Place, other: Place) -> bool:
    """Whether two places certainly accept the same: their texts and the texts of all they refer to agree."""
    if one is other:
        return True
    # Python takes 1 for True: equal values are the same text only if their types agree as well.
    if one.value != other.value or one.text != other.text:
        return False
    if one.dialect is not other.dialect and one.depends_on_dialect:
        return False
    if not one.depends_on_position:
        return True
    return one.home.signature == other.home.signature and _stand_alike(one, other)


def _stand_alike(one: Place, other: Place) -> bool:
    # In two equal documents, equal texts can still stand below different `$id`s.
    return '"$id"' not in one.home.signature
