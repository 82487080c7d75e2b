"""Every rule that a verdict on JSON Schemas can name, and what it means."""

from __future__ import annotations

from types import MappingProxyType

RULES = MappingProxyType(
    {
        "json.nothing_accepted": "The reader accepts nothing here (the schema false), the writer does.",
        "json.type_narrowed": "The writer may write a type that the reader does not read.",
        "json.enum_narrowed": "The writer may write a value that the reader's enum lacks.",
        "json.const_changed": "The writer may write another value than the reader's const.",
        "json.value_refused": "One of the writer's enumerated values breaks another keyword of the reader.",
        "json.minimum_raised": "The writer may write a smaller number than the reader reads.",
        "json.maximum_lowered": "The writer may write a larger number than the reader reads.",
        "json.multiple_of_narrowed": "The writer may write a number that is not a multiple of the reader's.",
        "json.min_length_raised": "The writer may write a shorter string than the reader reads.",
        "json.max_length_lowered": "The writer may write a longer string than the reader reads.",
        "json.pattern_narrowed": "The writer may write a string that the reader's pattern does not match.",
        "json.required_added": "The reader requires a property that the writer may leave out.",
        "json.property_refused": "The reader refuses a property that the writer may write.",
        "json.property_names_narrowed": "The reader refuses a name of a property that the writer may write.",
        "json.min_properties_raised": "The writer may write fewer properties than the reader wants.",
        "json.max_properties_lowered": "The writer may write more properties than the reader wants.",
        "json.dependent_required_added": "The reader requires a property beside another one.",
        "json.min_items_raised": "The writer may write fewer items than the reader wants.",
        "json.max_items_lowered": "The writer may write more items than the reader wants.",
        "json.item_refused": "The reader refuses an item at a position where the writer may write one.",
        "json.unique_items_added": "The reader wants items that differ, the writer may repeat one.",
        "json.contains_narrowed": "The writer may write an array without the item that the reader looks for.",
        "json.max_contains_lowered": "The writer may write more of some items than the reader's maxContains.",
        "json.no_alternative": "The writer may write what none of the reader's alternatives accepts.",
        "json.one_of_overlap": "The writer may write what two alternatives of the reader's oneOf accept.",
        "json.not_matched": "The writer may write what the reader excludes with not.",
        "json.unit_changed": "The sides declare different units (x-unit): by rule, without an instance.",
        "json.unit_added": "A notice: the reader declares a unit where the writer declares none.",
        "json.unit_dropped": "A notice: the writer declares a unit where the reader declares none.",
        "json.dialect_unknown": "Undecided: a $schema that is neither 2020-12 nor draft-07.",
        "json.reference_unresolved": "Undecided: a reference leads nowhere, in a circle, or to two texts.",
        "json.dynamic_reference": "Undecided: $dynamicRef depends on the way by which it was reached.",
        "json.expression_unreadable": "Undecided: a regular expression is not one that Python reads.",
        "json.too_deep": "Undecided: the schemas are nested more deeply than the engine looks.",
        "json.too_large": "Undecided: the comparison takes more steps than the engine allows itself.",
    }
)
