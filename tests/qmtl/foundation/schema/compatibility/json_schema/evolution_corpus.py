"""Ordinary schemas and how people change them: market data, orders, users, events, configuration.

Each evolution is an old schema, a new one, and whether each side can read what the other wrote; the answers
were thought through by hand, not taken from the engine.
"""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

REMOVED = object()


class Evolution(NamedTuple):
    """`new_reads_old`: backward compatible; `old_reads_new`: forward compatible."""

    name: str
    old: Any
    new: Any
    new_reads_old: bool
    old_reads_new: bool


def changed(base: Any, **changes: Any) -> Any:
    """`base` with other values at some places; a place is written as its keys, joined by two underscores."""
    value = copy.deepcopy(base)
    for node, new in changes.items():
        *way, last = node.replace("ref_", "$").split("__")
        inner = value
        for step in way:
            inner = inner[int(step)] if isinstance(inner, list) else inner.setdefault(step, {})
        if new is REMOVED:
            del inner[last]
        elif isinstance(inner, list):
            inner[int(last)] = new
        else:
            inner[last] = new
    return value


BAR = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "One bar",
    "type": "object",
    "properties": {
        "ts": {"type": "string", "format": "date-time"},
        "open": {"type": "number", "exclusiveMinimum": 0},
        "high": {"type": "number", "exclusiveMinimum": 0},
        "low": {"type": "number", "exclusiveMinimum": 0},
        "close": {"type": "number", "exclusiveMinimum": 0},
        "volume": {"type": "number", "minimum": 0},
    },
    "required": ["ts", "open", "high", "low", "close"],
    "additionalProperties": False,
}
TRADE = {
    "type": "object",
    "properties": {
        "id": {"type": "integer", "minimum": 1},
        "price": {"type": "number", "minimum": 0},
        "quantity": {"type": "number", "exclusiveMinimum": 0},
        "side": {"enum": ["buy", "sell"]},
        "venue": {"type": "string", "pattern": "^[A-Z]{4}$"},
    },
    "required": ["id", "price", "quantity", "side"],
}
BOOK = {
    "$defs": {
        "level": {
            "type": "array",
            "prefixItems": [{"type": "number", "minimum": 0}, {"type": "number", "minimum": 0}],
            "items": False,
            "minItems": 2,
        }
    },
    "type": "object",
    "properties": {
        "bids": {"type": "array", "items": {"$ref": "#/$defs/level"}, "maxItems": 50},
        "asks": {"type": "array", "items": {"$ref": "#/$defs/level"}, "maxItems": 50},
        "sequence": {"type": "integer"},
    },
    "required": ["bids", "asks"],
}
ORDER = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "definitions": {
        "money": {
            "type": "object",
            "properties": {
                "amount": {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]{1,8})?$"},
                "currency": {"type": "string", "minLength": 3, "maxLength": 3},
            },
            "required": ["amount", "currency"],
            "additionalProperties": False,
        }
    },
    "type": "object",
    "properties": {
        "id": {"type": "string", "format": "uuid"},
        "type": {"enum": ["limit", "market"]},
        "price": {"$ref": "#/definitions/money"},
        "lines": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "properties": {"sku": {"type": "string"}, "count": {"type": "integer", "minimum": 1}},
                "required": ["sku", "count"],
            },
        },
        "note": {"type": ["string", "null"], "maxLength": 200},
    },
    "required": ["id", "type", "lines"],
    "dependencies": {"price": ["type"]},
}
USER = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 80},
        "email": {"type": "string", "pattern": "^[^@]+@[^@]+$"},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "roles": {"type": "array", "items": {"enum": ["admin", "editor", "viewer"]}, "uniqueItems": True},
        "address": {
            "type": "object",
            "properties": {"street": {"type": "string"}, "zip": {"type": "string", "pattern": "^[0-9]{5}$"}},
            "required": ["street"],
        },
    },
    "required": ["name", "email"],
}
_PLACED = {
    "type": "object",
    "properties": {"kind": {"const": "placed"}, "order": {"type": "string"}, "total": {"type": "number"}},
    "required": ["kind", "order", "total"],
}
_SHIPPED = {
    "type": "object",
    "properties": {"kind": {"const": "shipped"}, "order": {"type": "string"}, "carrier": {"type": "string"}},
    "required": ["kind", "order"],
}
_RETURNED = {
    "type": "object",
    "properties": {"kind": {"const": "returned"}, "order": {"type": "string"}, "reason": {"type": "string"}},
    "required": ["kind", "order", "reason"],
}
EVENT = {"oneOf": [_PLACED, _SHIPPED]}
CONFIG = {
    "type": "object",
    "properties": {
        "host": {"type": "string"},
        "port": {"type": "integer", "minimum": 1, "maximum": 65535},
        "log": {"enum": ["debug", "info", "error"]},
        "tls": {
            "type": "object",
            "properties": {"cert": {"type": "string"}, "key": {"type": "string"}},
            "dependentRequired": {"cert": ["key"], "key": ["cert"]},
        },
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "limits": {"type": "object", "patternProperties": {"^max_": {"type": "integer", "minimum": 0}}},
    },
    "additionalProperties": False,
}
TREE = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
            },
            "required": ["name"],
        }
    },
    "$ref": "#/$defs/node",
}
PAYMENT = {
    "type": "object",
    "properties": {
        "method": {"enum": ["card", "transfer"]},
        "card": {"type": "string"},
        "iban": {"type": "string"},
    },
    "required": ["method"],
    "if": {"properties": {"method": {"const": "card"}}},
    "then": {"required": ["card"]},
    "else": {"required": ["iban"]},
}
READING = {
    "$defs": {
        "base": {
            "type": "object",
            "properties": {"sensor": {"type": "string"}, "at": {"type": "string", "format": "date-time"}},
            "required": ["sensor", "at"],
        }
    },
    "allOf": [{"$ref": "#/$defs/base"}],
    "properties": {"celsius": {"type": "number", "minimum": -90, "maximum": 60}},
    "required": ["celsius"],
    "unevaluatedProperties": False,
}
GEO = {
    "type": "object",
    "properties": {
        "type": {"const": "Point"},
        "coordinates": {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
    },
    "required": ["type", "coordinates"],
}
NULLABLE = {
    "type": "object",
    "properties": {
        "bid": {"anyOf": [{"type": "number", "minimum": 0}, {"type": "null"}]},
        "ask": {"oneOf": [{"type": "number", "minimum": 0}, {"type": "null"}]},
        "tag": {"type": ["string", "integer"]},
    },
    "required": ["bid", "ask"],
}

EVOLUTIONS = [
    # Bars: a closed object.
    Evolution(
        "bar: same again, described", BAR, changed(BAR, title="A bar", description="of trades"), True, True
    ),
    Evolution(
        "bar: optional field added, closed",
        BAR,
        changed(BAR, properties__trades={"type": "integer"}),
        True,
        False,
    ),
    Evolution(
        "bar: optional field removed, closed", BAR, changed(BAR, properties__volume=REMOVED), False, True
    ),
    Evolution(
        "bar: volume now required", BAR, changed(BAR, required=[*BAR["required"], "volume"]), False, True
    ),
    Evolution("bar: opened", BAR, changed(BAR, additionalProperties=True), True, False),
    Evolution(
        "bar: extra fields of one type",
        BAR,
        changed(BAR, additionalProperties={"type": "string"}),
        True,
        False,
    ),
    Evolution(
        "bar: price may be zero",
        BAR,
        changed(BAR, properties__low={"type": "number", "minimum": 0}),
        True,
        False,
    ),
    Evolution(
        "bar: volume is an integer",
        BAR,
        changed(BAR, properties__volume={"type": "integer", "minimum": 0}),
        False,
        True,
    ),
    Evolution("bar: time as a number", BAR, changed(BAR, properties__ts={"type": "integer"}), False, False),
    Evolution(
        "bar: time as text or a number",
        BAR,
        changed(BAR, properties__ts={"type": ["string", "integer"]}),
        True,
        False,
    ),
    Evolution("bar: another format of time", BAR, changed(BAR, properties__ts__format="date"), True, True),
    Evolution(
        "bar: close may be null", BAR, changed(BAR, properties__close__type=["number", "null"]), True, False
    ),
    Evolution("bar: tick of a quarter", BAR, changed(BAR, properties__open__multipleOf=0.25), False, True),
    Evolution("bar: cap on volume", BAR, changed(BAR, properties__volume__maximum=1e12), False, True),
    Evolution(
        "bar: renamed field",
        BAR,
        changed(
            BAR,
            properties__ts=REMOVED,
            properties__time={"type": "string"},
            required=["time", "open", "high", "low", "close"],
        ),
        False,
        False,
    ),
    # Trades: an open object.
    Evolution(
        "trade: optional field added", TRADE, changed(TRADE, properties__fee={"type": "number"}), False, True
    ),
    Evolution("trade: untyped field added", TRADE, changed(TRADE, properties__extra=True), True, True),
    Evolution(
        "trade: side added",
        TRADE,
        changed(TRADE, properties__side={"enum": ["buy", "sell", "unknown"]}),
        True,
        False,
    ),
    Evolution(
        "trade: sides in another order",
        TRADE,
        changed(TRADE, properties__side={"enum": ["sell", "buy"]}),
        True,
        True,
    ),
    Evolution(
        "trade: side typed as well", TRADE, changed(TRADE, properties__side__type="string"), True, True
    ),
    Evolution(
        "trade: side is any string", TRADE, changed(TRADE, properties__side={"type": "string"}), True, False
    ),
    Evolution("trade: side constant", TRADE, changed(TRADE, properties__side={"const": "buy"}), False, True),
    Evolution("trade: id may be zero", TRADE, changed(TRADE, properties__id__minimum=0), True, False),
    Evolution(
        "trade: id above zero said otherwise",
        TRADE,
        changed(TRADE, properties__id={"type": "integer", "exclusiveMinimum": 0}),
        True,
        True,
    ),
    Evolution(
        "trade: id as a string", TRADE, changed(TRADE, properties__id={"type": "string"}), False, False
    ),
    Evolution(
        "trade: price required no more",
        TRADE,
        changed(TRADE, required=["id", "quantity", "side"]),
        True,
        False,
    ),
    Evolution(
        "trade: venue of three or four letters",
        TRADE,
        changed(TRADE, properties__venue__pattern="^[A-Z]{3,4}$"),
        True,
        False,
    ),
    Evolution(
        "trade: venue with digits",
        TRADE,
        changed(TRADE, properties__venue__pattern="^[A-Z0-9]{4}$"),
        True,
        False,
    ),
    Evolution(
        "trade: venue with a length",
        TRADE,
        changed(TRADE, properties__venue={"type": "string", "minLength": 4}),
        True,
        False,
    ),
    Evolution("trade: closed", TRADE, changed(TRADE, additionalProperties=False), False, True),
    Evolution("trade: at most ten fields", TRADE, changed(TRADE, maxProperties=10), False, True),
    Evolution("trade: at least four fields", TRADE, changed(TRADE, minProperties=4), True, True),
    Evolution(
        "trade: lots of ten",
        changed(TRADE, properties__quantity={"type": "integer", "multipleOf": 5}),
        changed(TRADE, properties__quantity={"type": "integer", "multipleOf": 10}),
        False,
        True,
    ),
    # Order books: tuples.
    Evolution("book: deeper", BOOK, changed(BOOK, properties__bids__maxItems=100), True, False),
    Evolution("book: no limit", BOOK, changed(BOOK, properties__bids__maxItems=REMOVED), True, False),
    Evolution("book: never empty", BOOK, changed(BOOK, properties__asks__minItems=1), False, True),
    Evolution(
        "book: count of orders in a level",
        BOOK,
        changed(BOOK, ref_defs__level__items={"type": "integer"}),
        True,
        False,
    ),
    Evolution(
        "book: level inlined", BOOK, changed(BOOK, properties__bids__items=BOOK["$defs"]["level"]), True, True
    ),
    Evolution("book: unused definition", BOOK, changed(BOOK, ref_defs__other={"type": "string"}), True, True),
    Evolution(
        "book: levels as objects", BOOK, changed(BOOK, ref_defs__level={"type": "object"}), False, False
    ),
    Evolution(
        "book: sizes above zero",
        BOOK,
        changed(BOOK, ref_defs__level__prefixItems__1={"type": "number", "exclusiveMinimum": 0}),
        False,
        True,
    ),
    Evolution(
        "book: sequence required", BOOK, changed(BOOK, required=["bids", "asks", "sequence"]), False, True
    ),
    Evolution(
        "book: levels that differ", BOOK, changed(BOOK, properties__bids__uniqueItems=True), False, True
    ),
    # Orders: draft-07.
    Evolution(
        "order: type added",
        ORDER,
        changed(ORDER, properties__type={"enum": ["limit", "market", "stop"]}),
        True,
        False,
    ),
    Evolution("order: longer note", ORDER, changed(ORDER, properties__note__maxLength=500), True, False),
    Evolution("order: note never null", ORDER, changed(ORDER, properties__note__type="string"), False, True),
    Evolution(
        "order: more digits",
        ORDER,
        changed(ORDER, definitions__money__properties__amount__pattern=r"^-?[0-9]+(\.[0-9]{1,18})?$"),
        True,
        False,
    ),
    Evolution(
        "order: no negative amounts",
        ORDER,
        changed(ORDER, definitions__money__properties__amount__pattern=r"^[0-9]+(\.[0-9]{1,8})?$"),
        False,
        True,
    ),
    Evolution(
        "order: currency by expression",
        ORDER,
        changed(
            ORDER, definitions__money__properties__currency={"type": "string", "pattern": r"\A[A-Z]{3}\Z"}
        ),
        False,
        True,
    ),
    Evolution(
        "order: price required", ORDER, changed(ORDER, required=["id", "type", "lines", "price"]), False, True
    ),
    Evolution("order: no dependency", ORDER, changed(ORDER, dependencies=REMOVED), True, True),
    Evolution(
        "order: price with a note", ORDER, changed(ORDER, dependencies={"price": ["note"]}), False, True
    ),
    Evolution("order: empty orders", ORDER, changed(ORDER, properties__lines__minItems=0), True, False),
    Evolution(
        "order: optional field of a line",
        ORDER,
        changed(ORDER, properties__lines__items__properties__tax={"type": "number"}),
        False,
        True,
    ),
    Evolution(
        "order: required field of a line",
        ORDER,
        changed(ORDER, properties__lines__items__required=["sku", "count", "tax"]),
        False,
        True,
    ),
    Evolution(
        "order: in the newer dialect",
        ORDER,
        changed(
            {key: value for key, value in ORDER.items() if key != "dependencies"},
            ref_schema="https://json-schema.org/draft/2020-12/schema",
            dependentRequired={"price": ["type"]},
        ),
        True,
        True,
    ),
    Evolution(
        "order: identifier in lower case",
        ORDER,
        changed(ORDER, properties__id__pattern="^[0-9a-f-]{36}$"),
        False,
        True,
    ),
    # Users.
    Evolution("user: older", USER, changed(USER, properties__age__maximum=200), True, False),
    Evolution(
        "user: age as a number",
        USER,
        changed(USER, properties__age={"type": "number", "minimum": 0, "maximum": 150}),
        True,
        False,
    ),
    Evolution(
        "user: role added",
        USER,
        changed(USER, properties__roles__items={"enum": ["admin", "editor", "viewer", "guest"]}),
        True,
        False,
    ),
    Evolution("user: role repeated", USER, changed(USER, properties__roles__uniqueItems=False), True, False),
    Evolution("user: a role at least", USER, changed(USER, properties__roles__minItems=1), False, True),
    Evolution(
        "user: one is an admin",
        USER,
        changed(USER, properties__roles__contains={"const": "admin"}),
        False,
        True,
    ),
    Evolution(
        "user: no spaces in addresses",
        USER,
        changed(USER, properties__email__pattern=r"^[^@\s]+@[^@\s]+$"),
        False,
        True,
    ),
    Evolution(
        "user: address with a dot",
        USER,
        changed(USER, properties__email__pattern=r"^[^@]+@[^@]+\.[^@]+$"),
        False,
        True,
    ),
    Evolution(
        "user: zip with four more digits",
        USER,
        changed(USER, properties__address__properties__zip__pattern="^[0-9]{5}(-[0-9]{4})?$"),
        True,
        False,
    ),
    Evolution(
        "user: zip by category",
        USER,
        changed(USER, properties__address__properties__zip__pattern=r"^\d{5}$"),
        True,
        False,
    ),
    Evolution(
        "user: zip required",
        USER,
        changed(USER, properties__address__required=["street", "zip"]),
        False,
        True,
    ),
    Evolution(
        "user: address required", USER, changed(USER, required=["name", "email", "address"]), False, True
    ),
    Evolution("user: shorter names", USER, changed(USER, properties__name__maxLength=40), False, True),
    Evolution("user: names may be empty", USER, changed(USER, properties__name__minLength=0), True, False),
    Evolution("user: no property called id", USER, changed(USER, properties__id=False), False, True),
    Evolution(
        "user: defaults and examples",
        USER,
        changed(USER, properties__age__default=18, properties__name__examples=["Ada"]),
        True,
        True,
    ),
    Evolution("user: composed", USER, {"allOf": [USER, {"type": "object"}]}, True, True),
    # Events: alternatives told apart by a constant.
    Evolution("event: kind added", EVENT, {"oneOf": [_PLACED, _SHIPPED, _RETURNED]}, True, False),
    Evolution("event: kinds in another order", EVENT, {"oneOf": [_SHIPPED, _PLACED]}, True, True),
    Evolution("event: any instead of one", EVENT, {"anyOf": [_PLACED, _SHIPPED]}, True, True),
    Evolution(
        "event: total required no more",
        EVENT,
        {"oneOf": [changed(_PLACED, required=["kind", "order"]), _SHIPPED]},
        True,
        False,
    ),
    Evolution(
        "event: carrier required",
        EVENT,
        {"oneOf": [_PLACED, changed(_SHIPPED, required=["kind", "order", "carrier"])]},
        False,
        True,
    ),
    Evolution(
        "event: kinds renamed",
        EVENT,
        {"oneOf": [changed(_PLACED, properties__kind={"const": "created"}), _SHIPPED]},
        False,
        False,
    ),
    Evolution(
        "event: constant as an enum",
        EVENT,
        {"oneOf": [changed(_PLACED, properties__kind={"enum": ["placed"]}), _SHIPPED]},
        True,
        True,
    ),
    Evolution(
        "event: not told apart",
        {
            "type": "object",
            "properties": {
                "kind": {"enum": ["placed", "shipped"]},
                "order": {"type": "string"},
                "total": {"type": "number"},
            },
            "required": ["kind", "order", "total"],
        },
        {"oneOf": [_PLACED, changed(_SHIPPED, properties__carrier=True)]},
        True,
        False,
    ),
    Evolution(
        "event: definitions",
        EVENT,
        {
            "$defs": {"placed": _PLACED, "shipped": _SHIPPED},
            "oneOf": [{"$ref": "#/$defs/placed"}, {"$ref": "#/$defs/shipped"}],
        },
        True,
        True,
    ),
    Evolution(
        "event: order as a number",
        EVENT,
        {"oneOf": [changed(_PLACED, properties__order={"type": "integer"}), _SHIPPED]},
        False,
        False,
    ),
    # Configuration.
    Evolution(
        "config: key added", CONFIG, changed(CONFIG, properties__timeout={"type": "number"}), True, False
    ),
    Evolution(
        "config: system ports refused", CONFIG, changed(CONFIG, properties__port__minimum=1024), False, True
    ),
    Evolution(
        "config: level added",
        CONFIG,
        changed(CONFIG, properties__log={"enum": ["debug", "info", "warning", "error"]}),
        True,
        False,
    ),
    Evolution(
        "config: level off by null",
        CONFIG,
        changed(CONFIG, properties__log={"enum": ["debug", "info", "error", None]}),
        True,
        False,
    ),
    Evolution(
        "config: key without certificate",
        CONFIG,
        changed(CONFIG, properties__tls__dependentRequired={"cert": ["key"]}),
        True,
        False,
    ),
    Evolution(
        "config: certificate required",
        CONFIG,
        changed(CONFIG, properties__tls__required=["cert"]),
        False,
        True,
    ),
    Evolution(
        "config: labels of numbers too",
        CONFIG,
        changed(CONFIG, properties__labels__additionalProperties={"type": ["string", "number"]}),
        True,
        False,
    ),
    Evolution(
        "config: short labels",
        CONFIG,
        changed(CONFIG, properties__labels__additionalProperties={"type": "string", "maxLength": 63}),
        False,
        True,
    ),
    Evolution(
        "config: names of labels",
        CONFIG,
        changed(CONFIG, properties__labels__propertyNames={"pattern": "^[a-z]+$"}),
        False,
        True,
    ),
    Evolution(
        "config: negative limits",
        CONFIG,
        changed(CONFIG, properties__limits__patternProperties={"^max_": {"type": "integer"}}),
        True,
        False,
    ),
    Evolution(
        "config: only limits",
        CONFIG,
        changed(CONFIG, properties__limits__additionalProperties=False),
        False,
        True,
    ),
    Evolution(
        "config: lower limits",
        CONFIG,
        changed(
            CONFIG, properties__limits__patternProperties={"^m(ax|in)_": {"type": "integer", "minimum": 0}}
        ),
        False,
        True,
    ),
    Evolution(
        "config: port as text too",
        CONFIG,
        changed(
            CONFIG,
            properties__port={
                "anyOf": [{"type": "integer", "minimum": 1, "maximum": 65535}, {"type": "string"}]
            },
        ),
        True,
        False,
    ),
    Evolution(
        "config: port by two ranges",
        CONFIG,
        changed(
            CONFIG,
            properties__port={
                "type": "integer",
                "anyOf": [{"minimum": 1, "maximum": 1023}, {"minimum": 1024, "maximum": 65535}],
            },
        ),
        True,
        True,
    ),
    Evolution(
        "config: port zero excluded otherwise",
        CONFIG,
        changed(
            CONFIG, properties__port={"type": "integer", "minimum": 0, "maximum": 65535, "not": {"const": 0}}
        ),
        True,
        True,
    ),
    # Trees.
    Evolution(
        "tree: value in each node",
        TREE,
        changed(TREE, ref_defs__node__properties__value={"type": "number"}),
        False,
        True,
    ),
    Evolution(
        "tree: value required", TREE, changed(TREE, ref_defs__node__required=["name", "value"]), False, True
    ),
    Evolution(
        "tree: names not empty",
        TREE,
        changed(TREE, ref_defs__node__properties__name__minLength=1),
        False,
        True,
    ),
    Evolution(
        "tree: two children",
        TREE,
        changed(TREE, ref_defs__node__properties__children__maxItems=2),
        False,
        True,
    ),
    Evolution(
        "tree: another name of the definition",
        TREE,
        {
            "$defs": {
                "branch": changed(
                    TREE["$defs"]["node"], properties__children__items={"$ref": "#/$defs/branch"}
                )
            },
            "$ref": "#/$defs/branch",
        },
        True,
        True,
    ),
    Evolution("tree: closed", TREE, changed(TREE, ref_defs__node__additionalProperties=False), False, True),
    # Conditions.
    Evolution(
        "payment: method added, transfer by default",
        PAYMENT,
        changed(PAYMENT, properties__method={"enum": ["card", "transfer", "debit"]}),
        True,
        False,
    ),
    Evolution("payment: nothing more required", PAYMENT, changed(PAYMENT, **{"else": True}), True, False),
    Evolution(
        "payment: as alternatives",
        PAYMENT,
        {
            "type": "object",
            "properties": {"card": {"type": "string"}, "iban": {"type": "string"}},
            "oneOf": [
                {"properties": {"method": {"const": "card"}}, "required": ["method", "card"]},
                {"properties": {"method": {"const": "transfer"}}, "required": ["method", "iban"]},
            ],
        },
        True,
        True,
    ),
    Evolution(
        "payment: card of digits",
        PAYMENT,
        changed(PAYMENT, properties__card__pattern="^[0-9]{12,19}$"),
        False,
        True,
    ),
    # Composition, closed by unevaluatedProperties.
    Evolution(
        "reading: field in the base",
        READING,
        changed(READING, ref_defs__base__properties__site={"type": "string"}),
        True,
        False,
    ),
    Evolution("reading: hotter", READING, changed(READING, properties__celsius__maximum=70), True, False),
    Evolution(
        "reading: flat",
        READING,
        {
            "type": "object",
            "properties": {
                "sensor": {"type": "string"},
                "at": {"type": "string"},
                "celsius": {"type": "number", "minimum": -90, "maximum": 60},
            },
            "required": ["sensor", "at", "celsius"],
            "additionalProperties": False,
        },
        True,
        True,
    ),
    Evolution("reading: opened", READING, changed(READING, unevaluatedProperties=REMOVED), True, False),
    # Points.
    Evolution("geo: height", GEO, changed(GEO, properties__coordinates__maxItems=3), True, False),
    Evolution(
        "geo: another shape",
        GEO,
        changed(GEO, properties__type={"enum": ["Point", "MultiPoint"]}),
        True,
        False,
    ),
    Evolution(
        "geo: bounded",
        GEO,
        changed(GEO, properties__coordinates__items={"type": "number", "minimum": -180, "maximum": 180}),
        False,
        True,
    ),
    Evolution(
        "geo: as a tuple",
        GEO,
        changed(
            GEO,
            properties__coordinates={
                "type": "array",
                "prefixItems": [{"type": "number"}, {"type": "number"}],
                "items": False,
                "minItems": 2,
            },
        ),
        True,
        True,
    ),
    Evolution(
        "geo: draft-07 tuple",
        {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "items": [{"type": "number"}, {"type": "number"}],
            "additionalItems": False,
        },
        {"prefixItems": [{"type": "number"}, {"type": "number"}], "items": {"type": "string"}},
        True,
        False,
    ),
    # Null in three ways.
    Evolution(
        "quote: bid never null",
        NULLABLE,
        changed(NULLABLE, properties__bid={"type": "number", "minimum": 0}),
        False,
        True,
    ),
    Evolution(
        "quote: null by type",
        NULLABLE,
        changed(
            NULLABLE,
            properties__bid={"type": ["number", "null"], "minimum": 0},
            properties__ask={"type": ["null", "number"], "minimum": 0},
        ),
        True,
        True,
    ),
    Evolution(
        "quote: tag of three types",
        NULLABLE,
        changed(NULLABLE, properties__tag={"type": ["string", "integer", "boolean"]}),
        True,
        False,
    ),
    Evolution(
        "quote: tag of numbers",
        NULLABLE,
        changed(NULLABLE, properties__tag={"type": ["string", "number"]}),
        True,
        False,
    ),
    Evolution(
        "quote: tag in alternatives",
        NULLABLE,
        changed(NULLABLE, properties__tag={"anyOf": [{"type": "string"}, {"type": "integer"}]}),
        True,
        True,
    ),
    Evolution("quote: ask missing", NULLABLE, changed(NULLABLE, required=["bid"]), True, False),
    Evolution(
        "quote: reserved tags",
        NULLABLE,
        changed(NULLABLE, properties__tag={"type": ["string", "integer"], "not": {"enum": ["none", "null"]}}),
        False,
        True,
    ),
    Evolution(
        "quote: no reserved prefix",
        NULLABLE,
        changed(NULLABLE, properties__tag={"type": ["string", "integer"], "not": {"pattern": "^_"}}),
        False,
        True,
    ),
    # Look-around cannot be proved, only equal or shown.
    Evolution(
        "path: no parent folders",
        {"type": "string", "pattern": "^[a-z./]+$"},
        {"type": "string", "pattern": r"^(?!.*\.\.)[a-z./]+$"},
        False,
        True,
    ),
]
