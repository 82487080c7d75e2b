"""A corpus of ordinary changes, each judged in both directions; how many stay undecided is measured."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import pytest

from qmtl.foundation.schema.compatibility.avro import compare

MOST_UNDECIDED = 0.05


def field(name: str, type_: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": type_, **more}


def optional(name: str, type_: Any) -> dict[str, Any]:
    return field(name, ["null", type_], default=None)


def record(name: str, *fields: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": list(fields), **more}


def logical(base: str, name: str, **more: Any) -> dict[str, Any]:
    return {"type": base, "logicalType": name, **more}


def having(schema: dict[str, Any], *fields: dict[str, Any]) -> dict[str, Any]:
    """With these fields, in the place of those of their names, or at the end."""
    named = {each["name"]: each for each in [*schema["fields"], *fields]}
    return schema | {"fields": list(named.values())}


def lacking(schema: dict[str, Any], *names: str) -> dict[str, Any]:
    return schema | {"fields": [each for each in schema["fields"] if each["name"] not in names]}


MILLIS = logical("long", "timestamp-millis")
SIDE = {"type": "enum", "name": "Side", "symbols": ["BUY", "SELL"]}
BAR = record(
    "Bar",
    field("symbol", "string"),
    field("ts", MILLIS),
    *[field(name, "double") for name in ("open", "high", "low", "close")],
    field("volume", ["null", "double"], default=None),
    namespace="market.bars",
)
TRADE = record(
    "Trade",
    field("id", "long"),
    field("price", logical("bytes", "decimal", precision=18, scale=8)),
    field("size", "int"),
    field("side", SIDE),
    field("conditions", {"type": "array", "items": "string"}, default=[]),
    namespace="market.trades",
)
LEVEL = record("Level", field("price", "double"), field("size", "double"))
BOOK = record(
    "Book",
    field("sequence", "long"),
    field("bids", {"type": "array", "items": LEVEL}),
    field("asks", {"type": "array", "items": "Level"}),
    namespace="market.books",
)
INSTRUMENT = record(
    "Instrument",
    field("figi", {"type": "fixed", "name": "Figi", "size": 12}),
    field("names", {"type": "map", "values": "string"}),
    field("underlying", ["null", "Instrument"], default=None),
    field(
        "kind", {"type": "enum", "name": "Kind", "symbols": ["STOCK", "BOND", "OTHER"], "default": "OTHER"}
    ),
    namespace="market.reference",
)
ORDER = record(
    "Order",
    field("id", "string"),
    field(
        "body",
        [
            record("Limit", field("price", "double")),
            record("Market", field("slippage", "float")),
        ],
    ),
    field("account", record("Account", field("number", "string"), field("branch", "int"))),
    field("placed", MILLIS),
    namespace="desk",
)


class Change(NamedTuple):
    """backward: the new schema reads what the old one wrote; forward: the reverse."""

    what: str
    old: Any
    new: Any
    backward: bool
    forward: bool


YES, NO = True, False
CHANGES = [
    Change("bar: nothing", BAR, BAR, YES, YES),
    Change("bar: doc", BAR, BAR | {"doc": "One bar."}, YES, YES),
    Change("bar: optional field", BAR, having(BAR, optional("vwap", "double")), YES, YES),
    Change("bar: field with default", BAR, having(BAR, field("trades", "int", default=0)), YES, YES),
    Change("bar: required field", BAR, having(BAR, field("venue", "string")), NO, YES),
    Change("bar: required field dropped", BAR, lacking(BAR, "open"), YES, NO),
    Change("bar: optional field dropped", BAR, lacking(BAR, "volume"), YES, YES),
    Change("bar: order", BAR, BAR | {"fields": BAR["fields"][::-1]}, YES, YES),
    Change("bar: volume required", BAR, having(BAR, field("volume", "double")), NO, YES),
    Change("bar: price optional", BAR, having(BAR, field("close", ["null", "double"])), YES, NO),
    Change("bar: price as text", BAR, having(BAR, field("close", "string")), NO, NO),
    Change("bar: price as float", BAR, having(BAR, field("close", "float")), NO, YES),
    Change("bar: micros", BAR, having(BAR, field("ts", logical("long", "timestamp-micros"))), NO, NO),
    Change("bar: plain long", BAR, having(BAR, field("ts", "long")), YES, YES),
    Change(
        "bar: local time", BAR, having(BAR, field("ts", logical("long", "local-timestamp-millis"))), NO, NO
    ),
    Change("bar: name", BAR, BAR | {"name": "Candle"}, NO, NO),
    Change("bar: name with alias", BAR, BAR | {"name": "Candle", "aliases": ["Bar"]}, YES, NO),
    Change("bar: namespace", BAR, BAR | {"namespace": "market.ohlcv"}, YES, YES),
    Change("bar: field renamed", BAR, having(lacking(BAR, "ts"), field("time", MILLIS)), NO, NO),
    Change(
        "bar: field renamed with alias",
        BAR,
        having(lacking(BAR, "ts"), field("time", MILLIS, aliases=["ts"])),
        YES,
        NO,
    ),
    Change("bar: unit", having(BAR, field("close", "double", unit="USD")), BAR, YES, YES),
    Change(
        "bar: another unit",
        having(BAR, field("close", "double", unit="USD")),
        having(BAR, field("close", "double", unit="EUR")),
        NO,
        NO,
    ),
    Change("trade: size as long", TRADE, having(TRADE, field("size", "long")), YES, NO),
    Change("trade: size as double", TRADE, having(TRADE, field("size", "double")), YES, NO),
    Change("trade: id as text", TRADE, having(TRADE, field("id", "string")), NO, NO),
    Change(
        "trade: scale",
        TRADE,
        having(TRADE, field("price", logical("bytes", "decimal", precision=18, scale=6))),
        NO,
        NO,
    ),
    Change(
        "trade: precision",
        TRADE,
        having(TRADE, field("price", logical("bytes", "decimal", precision=20, scale=8))),
        YES,
        YES,
    ),
    Change("trade: price as bytes", TRADE, having(TRADE, field("price", "bytes")), YES, YES),
    Change("trade: price as double", TRADE, having(TRADE, field("price", "double")), NO, NO),
    Change(
        "trade: symbol added",
        TRADE,
        having(TRADE, field("side", SIDE | {"symbols": ["BUY", "SELL", "UNKNOWN"]})),
        YES,
        NO,
    ),
    Change(
        "trade: symbol replaced",
        TRADE,
        having(TRADE, field("side", SIDE | {"symbols": ["BUY", "SHORT"]})),
        NO,
        NO,
    ),
    Change(
        "trade: symbol added, with default",
        TRADE,
        having(TRADE, field("side", SIDE | {"symbols": ["UNKNOWN", "BUY", "SELL"], "default": "UNKNOWN"})),
        YES,
        NO,
    ),
    Change("trade: side as text", TRADE, having(TRADE, field("side", "string")), NO, NO),
    Change(
        "trade: conditions as numbers",
        TRADE,
        having(TRADE, field("conditions", {"type": "array", "items": "int"}, default=[])),
        NO,
        NO,
    ),
    Change(
        "trade: conditions as bytes",
        TRADE,
        having(TRADE, field("conditions", {"type": "array", "items": "bytes"}, default=[])),
        YES,
        YES,
    ),
    Change(
        "trade: conditions as a map",
        TRADE,
        having(TRADE, field("conditions", {"type": "map", "values": "string"}, default={})),
        NO,
        NO,
    ),
    Change(
        "book: field of a level",
        BOOK,
        having(BOOK, field("bids", {"type": "array", "items": having(LEVEL, optional("orders", "int"))})),
        YES,
        YES,
    ),
    Change(
        "book: required field of a level",
        BOOK,
        having(BOOK, field("bids", {"type": "array", "items": having(LEVEL, field("orders", "int"))})),
        NO,
        YES,
    ),
    Change(
        "book: sizes as long",
        BOOK,
        having(BOOK, field("bids", {"type": "array", "items": having(LEVEL, field("size", "long"))})),
        NO,
        YES,
    ),
    Change(
        "book: levels optional",
        BOOK,
        having(BOOK, field("asks", ["null", {"type": "array", "items": "Level"}])),
        YES,
        NO,
    ),
    Change(
        "instrument: size of an identifier",
        INSTRUMENT,
        having(INSTRUMENT, field("figi", {"type": "fixed", "name": "Figi", "size": 16})),
        NO,
        NO,
    ),
    Change("instrument: identifier as bytes", INSTRUMENT, having(INSTRUMENT, field("figi", "bytes")), NO, NO),
    Change(
        "instrument: names optional",
        INSTRUMENT,
        having(INSTRUMENT, field("names", {"type": "map", "values": ["null", "string"]})),
        YES,
        NO,
    ),
    Change(
        "instrument: kinds",
        INSTRUMENT,
        having(
            INSTRUMENT,
            field("kind", {"type": "enum", "name": "Kind", "symbols": ["OTHER", "FUND"], "default": "OTHER"}),
        ),
        YES,
        YES,
    ),
    Change("instrument: recursion dropped", INSTRUMENT, lacking(INSTRUMENT, "underlying"), YES, YES),
    Change(
        "instrument: recursion as a list",
        INSTRUMENT,
        having(INSTRUMENT, field("underlying", {"type": "array", "items": "Instrument"}, default=[])),
        NO,
        NO,
    ),
    Change(
        "order: another body",
        ORDER,
        having(ORDER, field("body", [*ORDER["fields"][1]["type"], record("Stop", field("at", "double"))])),
        YES,
        NO,
    ),
    Change("order: one body", ORDER, having(ORDER, field("body", ORDER["fields"][1]["type"][0])), NO, YES),
    Change(
        "order: bodies reordered",
        ORDER,
        having(ORDER, field("body", ORDER["fields"][1]["type"][::-1])),
        YES,
        YES,
    ),
    Change(
        "order: body promoted",
        ORDER,
        having(
            ORDER,
            field("body", [ORDER["fields"][1]["type"][0], record("Market", field("slippage", "double"))]),
        ),
        YES,
        NO,
    ),
    Change(
        "order: account flattened",
        ORDER,
        having(lacking(ORDER, "account"), field("account_number", "string", default="")),
        YES,
        NO,
    ),
    Change(
        "order: branch as text",
        ORDER,
        having(
            ORDER, field("account", record("Account", field("number", "string"), field("branch", "string")))
        ),
        NO,
        NO,
    ),
    Change("order: id as a uuid", ORDER, having(ORDER, field("id", logical("string", "uuid"))), YES, YES),
    Change("order: date", ORDER, having(ORDER, field("placed", logical("int", "date"))), NO, NO),
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.what)
@pytest.mark.parametrize("is_forward", [NO, YES], ids=["backward", "forward"])
def test_the_verdict(library: Any, document: Any, change: Change, is_forward: bool) -> None:
    writer, reader = (change.new, change.old) if is_forward else (change.old, change.new)
    verdict = compare(document(writer), document(reader))
    assert verdict.is_compatible == (change.forward if is_forward else change.backward), verdict
    for problem in verdict.problems:
        if problem.counterexample is not None:
            assert library.says(writer, reader, problem.counterexample.value) == "refused"


def test_hardly_any_is_undecided(document: Any) -> None:
    pairs = [(change.old, change.new) for change in CHANGES] + [
        (change.new, change.old) for change in CHANGES
    ]
    assert len(pairs) >= 80
    verdicts = [compare(document(writer), document(reader)) for writer, reader in pairs]
    undecided = sum(any(problem.undecided for problem in verdict.problems) for verdict in verdicts)
    sys.stdout.write(f"{undecided} of {len(pairs)} ordinary pairs are undecided\n")
    assert undecided < MOST_UNDECIDED * len(pairs)
