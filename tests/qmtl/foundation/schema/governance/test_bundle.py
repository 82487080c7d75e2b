"""The fingerprint of a bundle: blind to how files are written, awake to what they mean."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.schema.builtin import BUILTIN
from qmtl.foundation.schema.documents import Schema, SchemaType
from qmtl.foundation.schema.governance.bundle import Bundle, BundleFile

ROOT = Path(__file__).parents[5]

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abé", max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)


def spelled(value: Any, chance: random.Random) -> str:
    """One of the many ways to write a JSON value."""
    space = chance.choice(["", " ", "\n", "\r\n\t"])
    match value:
        case dict():
            items = [f"{spelled(key, chance)}{space}:{spelled(value[key], chance)}" for key in value]
            chance.shuffle(items)
            return "{" + space + f"{space},".join(items) + "}"
        case list():
            return "[" + f",{space}".join(spelled(one, chance) for one in value) + space + "]"
        case str():
            return json.dumps(value, ensure_ascii=chance.random() < 0.5)
    return json.dumps(value)


def same(one: Any, other: Any) -> bool:
    """Equality with types, where Python's calls True, 1 and 1.0 equal."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and repr(one) == repr(other)


def bundle_of(*texts: str) -> Bundle:
    files = (BundleFile(f"{n}.json", f"{n}", Schema(text, SchemaType.JSON)) for n, text in enumerate(texts))
    return Bundle(Path("schemas"), tuple(files))


@pytest.mark.slow
@given(JSON, st.randoms(use_true_random=False))
def test_every_spelling_has_one_fingerprint(value: Any, chance: random.Random) -> None:
    assert bundle_of(spelled(value, chance)).sha256 == bundle_of(json.dumps(value)).sha256


@given(JSON, JSON)
def test_two_values_have_two_fingerprints(one: Any, other: Any) -> None:
    fingerprints = [bundle_of(json.dumps(value)).sha256 for value in (one, other)]
    assert (fingerprints[0] == fingerprints[1]) is same(one, other)


@given(st.lists(JSON, min_size=1, max_size=3))
def test_no_boundary_between_files_can_be_moved(values: list[Any]) -> None:
    texts = [json.dumps(value) for value in values]
    assert bundle_of(*texts).sha256 != bundle_of(*texts, "null").sha256
    assert bundle_of(*texts).sha256 != bundle_of(json.dumps(values)).sha256


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_json", ".json").replace("_avsc", ".avsc")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, newline="")
    return folder


A = '{"type": "object", "required": ["ts", "open"], "properties": {"ts": {"type": "integer"}}}'


@pytest.mark.parametrize(
    "text",
    [
        '{"properties": {"ts": {"type": "integer"}}, "required": ["ts", "open"], "type": "object"}',
        A.replace(" ", "\r\n  "),
        A.replace("ts", "\\u0074s"),
    ],
)
def test_the_fingerprint_is_blind_to_spelling(tmp_path: Path, text: str) -> None:
    assert (
        Bundle.read(write(tmp_path / "a", one_json=A)).sha256
        == Bundle.read(write(tmp_path / "b", one_json=text)).sha256
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("integer", "number"),
        ('"ts", "open"', '"open", "ts"'),
        ('"type": "object", ', ""),
        ("object", "Object"),
        ('"ts": {', '"ts ": {'),
    ],
)
def test_the_fingerprint_sees_every_change(tmp_path: Path, old: str, new: str) -> None:
    assert old in A
    assert (
        Bundle.read(write(tmp_path / "a", one_json=A)).sha256
        != Bundle.read(write(tmp_path / "b", one_json=A.replace(old, new, 1))).sha256
    )


def test_the_fingerprint_sees_names_and_declarations(tmp_path: Path) -> None:
    kinds = {
        "plain": write(tmp_path / "plain", one_json=A),
        "renamed": write(tmp_path / "renamed", two_json=A),
        "moved": write(tmp_path / "moved", x__one_json=A),
        "avro": write(tmp_path / "avro", one_avsc=A),
        "more": write(tmp_path / "more", one_json=A, two_json=A),
        "subject": write(tmp_path / "subject", one_json=A),
        "reference": write(tmp_path / "reference", one_json=A),
    }
    (kinds["subject"] / "bundle.yml").write_text("one.json: {subject: other}\n")
    (kinds["reference"] / "bundle.yml").write_text(
        "one.json: {references: [{name: n, subject: s, version: 1}]}\n"
    )
    assert len({Bundle.read(folder).sha256 for folder in kinds.values()}) == len(kinds)
    (tmp_path / "plain" / "bundle.yml").write_text("one.json: {subject: one}\n")
    (tmp_path / "plain" / ".hidden").write_text("x")
    assert Bundle.read(kinds["plain"]).sha256 == Bundle.read(write(tmp_path / "again", one_json=A)).sha256


def test_a_bound_of_64_bits_keeps_its_last_digit(tmp_path: Path) -> None:
    one = write(tmp_path / "a", one_json='{"maximum": 9223372036854775807}')
    other = write(tmp_path / "b", one_json='{"maximum": 9223372036854775806}')
    assert Bundle.read(one).sha256 != Bundle.read(other).sha256


@pytest.mark.parametrize(
    ("name", "text", "stated"),
    [
        ("one.json", "{", "is not JSON"),
        ("one.json", '{"a": 1, "a": 2}', "twice"),
        ("one.json", '{"a": NaN}', "NaN"),
        ("one.json", "[" * 100_000, "is not JSON"),
        ("one.txt", "x", "holds 'one.txt'"),
        ("bundle.yml", "one.json: {subjects: x}", "cannot be used"),
        ("bundle.yml", "one.json: [", "cannot be used"),
        ("bundle.yml", "one.json: 2024-13-01", "cannot be used"),
        ("bundle.yml", "other.json: {subject: x}", "speaks of 'other.json'"),
        ("x/two.json", "{}", "'two' twice"),
    ],
)
def test_what_is_no_bundle_is_refused(tmp_path: Path, name: str, text: str, stated: str) -> None:
    folder = write(tmp_path, two_json="{}")
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    with pytest.raises(InvalidRequestError, match=stated):
        Bundle.read(folder)


def test_a_folder_without_schemas_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("{}")
    (tmp_path / "link").symlink_to("v9")
    cases = {
        "empty": "holds no schema",
        "missing": "nothing is there",
        "file": "it is a file",
        "link": "a link to v9",
    }
    for name, stated in cases.items():
        folder = tmp_path / name
        with pytest.raises(InvalidRequestError, match=stated):
            Bundle.read(folder)


def test_what_is_referred_to_comes_first(tmp_path: Path) -> None:
    folder = write(tmp_path, a_avsc='"b"', b_avsc='"c"', c_avsc='"int"')
    reference = "{{references: [{{name: {0}, subject: {0}, version: 1}}]}}"
    (folder / "bundle.yml").write_text(f"a.avsc: {reference.format('b')}\nb.avsc: {reference.format('c')}\n")
    assert [file.subject for file in Bundle.read(folder).in_order()] == ["c", "b", "a"]
    with (folder / "bundle.yml").open("a") as file:
        file.write(f"c.avsc: {reference.format('a')}\n")
    with pytest.raises(InvalidRequestError, match="circle"):
        Bundle.read(folder).in_order()


def test_the_checkout_shows_the_bundle_of_the_package() -> None:
    own = Bundle.read(BUILTIN)
    assert Bundle.read(ROOT / "schemas" / "v1").sha256 == own.sha256
    assert [(file.subject, file.schema.type) for file in own.files] == [
        ("ohlcv", SchemaType.JSON),
        ("trades", SchemaType.JSON),
    ]
    for file in own.files:
        jsonschema.Draft202012Validator.check_schema(json.loads(file.schema.text))


BAR = {"ts": 0, "open": 1.0, "high": 2.0, "low": 0.5, "close": 1.5, "volume": 3.0}
TRADE = {"ts": 0, "id": "7", "price": 1.0, "amount": 2.0, "side": "buy"}


@pytest.mark.parametrize(
    ("subject", "row", "valid"),
    [
        ("ohlcv", BAR, True),
        ("ohlcv", BAR | {"volume": None}, True),
        ("ohlcv", BAR | {"low": -37.63}, True),
        ("ohlcv", BAR | {"volume": -1}, False),
        ("ohlcv", BAR | {"open": None}, False),
        ("ohlcv", BAR | {"open": "1.0"}, False),
        ("ohlcv", BAR | {"ts": 0.5}, False),
        ("ohlcv", BAR | {"ts": 2**63}, False),
        ("ohlcv", BAR | {"vwap": 1.0}, False),
        ("ohlcv", {key: BAR[key] for key in BAR if key != "volume"}, False),
        ("trades", TRADE, True),
        ("trades", TRADE | {"side": None, "id": None}, True),
        ("trades", TRADE | {"side": "BUY"}, False),
        ("trades", TRADE | {"amount": -1.0}, False),
    ],
)
def test_the_own_schemas_say_what_a_row_is(subject: str, row: dict[str, Any], valid: bool) -> None:
    schema = json.loads(Bundle.read(BUILTIN).of_subject(subject).schema.text)
    assert jsonschema.Draft202012Validator(schema).is_valid(row) is valid


def test_the_own_schema_of_bars_has_the_columns_of_a_frame() -> None:
    from qmtl.foundation.frames import BAR_SCHEMA

    columns = json.loads(Bundle.read(BUILTIN).of_subject("ohlcv").schema.text)["properties"]
    assert list(columns) == list(BAR_SCHEMA)
    plain = {"Datetime(ns, UTC)": "Datetime(time_unit='ns', time_zone='UTC')"}
    assert [plain.get(column["x-dtype"], column["x-dtype"]) for column in columns.values()] == [
        str(dtype) for dtype in BAR_SCHEMA.values()
    ]


def test_an_unknown_subject_is_reported_with_those_there_are() -> None:
    with pytest.raises(InvalidRequestError, match="ohlcv, trades"):
        Bundle.read(BUILTIN).of_subject("bars")
