"""Random pairs of schemas: one of ordinary keywords, and the same with a few places changed."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import strategies as st

NAMES = ("a", "b", "c")
SCALARS = (None, True, False, 0, 1, 2, 3, 5, 10, -1, 0.5, 1.5, 2.0, "", "a", "b", "ab", "abc", "c1")
PATTERNS = ("^a", "b$", "^[a-c]+$", "^[0-9]+$", "^.{2,3}$", "c", r"^\w$")
_SCHEMA_AT = (
    "items",
    "not",
    "contains",
    "additionalProperties",
    "if",
    "then",
    "else",
    "unevaluatedProperties",
)
_SCHEMAS_AT = ("allOf", "anyOf", "oneOf", "prefixItems")
_NAMED_AT = ("properties", "patternProperties", "dependentSchemas")
_COUNTS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties", "minContains")

small = st.integers(0, 3)
names = st.sampled_from(NAMES)
values = st.one_of(st.sampled_from(SCALARS), st.just([]), st.just({}))
# Small instances, each of which a schema built of the same few words may well accept.
instances = st.recursive(
    st.sampled_from(SCALARS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names | st.just("other"), inner, max_size=3),
    max_leaves=4,
)


def _some(required: dict[str, Any], optional: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(required, optional=optional)


leaves = st.one_of(
    st.sampled_from([True, False, {}]),
    _some(
        {"type": st.sampled_from(["string", "integer", "number", "null", "boolean", "object", "array"])}, {}
    ),
    _some(
        {
            "type": st.lists(
                st.sampled_from(["string", "integer", "null", "number"]), min_size=2, max_size=2, unique=True
            )
        },
        {},
    ),
    _some({"enum": st.lists(st.sampled_from(SCALARS), min_size=1, max_size=4)}, {}),
    _some({"const": values}, {}),
    _some(
        {"type": st.sampled_from(["integer", "number"])},
        {
            "minimum": st.sampled_from([0, 0.5, 1, 2]),
            "maximum": st.sampled_from([1, 3, 10]),
            "exclusiveMinimum": st.sampled_from([0, 1]),
            "exclusiveMaximum": st.sampled_from([2, 5]),
            "multipleOf": st.sampled_from([1, 2, 3, 6, 0.5]),
        },
    ),
    _some(
        {"type": st.just("string")},
        {"minLength": small, "maxLength": small, "pattern": st.sampled_from(PATTERNS)},
    ),
)


def _around(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    objects = _some(
        {"type": st.just("object")},
        {
            "properties": st.dictionaries(names, inner, max_size=3),
            "required": st.lists(names, max_size=2, unique=True),
            "additionalProperties": inner,
            "patternProperties": st.dictionaries(st.sampled_from(["^a", "[bc]", "x"]), inner, max_size=1),
            "propertyNames": st.sampled_from([{"maxLength": 1}, {"pattern": "^[a-c]"}, {"enum": ["a", "b"]}]),
            "minProperties": small,
            "maxProperties": small,
            "dependentRequired": st.dictionaries(names, st.lists(names, max_size=1), max_size=1),
            "dependentSchemas": st.dictionaries(names, inner, max_size=1),
            "unevaluatedProperties": inner,
        },
    )
    arrays = _some(
        {"type": st.just("array")},
        {
            "items": inner,
            "prefixItems": st.lists(inner, min_size=1, max_size=2),
            "contains": inner,
            "minContains": small,
            "maxContains": small,
            "minItems": small,
            "maxItems": small,
            "uniqueItems": st.booleans(),
        },
    )
    several = st.lists(inner, min_size=1, max_size=3)
    combined = st.one_of(
        *(_some({keyword: several}, {"type": st.just("object")}) for keyword in ("allOf", "anyOf", "oneOf")),
        _some({"not": inner}, {}),
        _some({"if": inner}, {"then": inner, "else": inner}),
    )
    return objects | arrays | combined


schemas = st.recursive(leaves, _around, max_leaves=6)
_itself = st.just({"$ref": "#/$defs/itself"})
recursive_schemas = _around(st.recursive(leaves | _itself, _around, max_leaves=5))


@st.composite
def changed(draw: st.DrawFn, schema: Any) -> Any:
    """`schema` with one place changed."""
    if not isinstance(schema, dict) or not schema or draw(st.integers(0, 9)) == 0:
        return draw(schemas)
    schema = copy.deepcopy(schema)
    keyword = draw(st.sampled_from(sorted(schema)))
    argument = schema[keyword]
    if keyword in _SCHEMA_AT:
        schema[keyword] = draw(changed(argument))
    elif keyword in _SCHEMAS_AT:
        index = draw(st.integers(0, len(argument) - 1))
        argument[index] = draw(changed(argument[index]))
    elif keyword in _NAMED_AT and argument:
        name = draw(st.sampled_from(sorted(argument)))
        argument[name] = draw(changed(argument[name]))
    elif keyword in _COUNTS:
        schema[keyword] = max(0, argument + draw(st.sampled_from([-1, 1])))
    elif keyword == "enum":
        schema[keyword] = draw(st.lists(st.sampled_from(SCALARS), min_size=1, max_size=4))
    elif draw(st.booleans()):
        del schema[keyword]
    else:
        more = draw(leaves)
        schema.update(more if isinstance(more, dict) else {})
    return schema


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Any, Any]:
    """A writer and a reader."""
    one = draw(schemas)
    other = one
    for _ in range(draw(st.integers(1, 3))):
        other = draw(changed(other))
    return draw(st.sampled_from([(one, other), (other, one)]))


@st.composite
def recursive_pairs(draw: st.DrawFn) -> tuple[Any, Any]:
    """A writer and a reader that may refer to themselves."""
    one = draw(recursive_schemas)
    other = draw(changed(one))
    pair = [{"$defs": {"itself": schema}, "$ref": "#/$defs/itself"} for schema in (one, other)]
    return draw(st.sampled_from([(pair[0], pair[1]), (pair[1], pair[0])]))
