"""The values of a YAML file, and where each of them was written."""

from __future__ import annotations

from pathlib import Path

import pytest

from qmtl.foundation.config_text import ConfigText
from qmtl.foundation.errors import SettingsError

TEXT = """\
# settings
seamless:
  store: data
  vendors:
    - name: a
      path: files
    - name: b
empty:
"""


def read(folder: Path, text: str | bytes) -> ConfigText:
    path = folder / "qmtl.yml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return ConfigText.read(path)


def test_every_value_knows_its_line_and_column(tmp_path: Path) -> None:
    config = read(tmp_path, TEXT)
    path = tmp_path / "qmtl.yml"
    assert config.data == {
        "seamless": {"store": "data", "vendors": [{"name": "a", "path": "files"}, {"name": "b"}]},
        "empty": {},
    }
    for steps, key, mark in [
        (("seamless",), "seamless", "2:1"),
        (("seamless", "store"), "seamless.store", "3:3"),
        (("seamless", "vendors", 0, "path"), "seamless.vendors[0].path", "6:7"),
        (("seamless", "vendors", 1), "seamless.vendors[1]", "7:7"),
        (("empty",), "empty", "8:1"),
    ]:
        place = config.place(steps)
        assert (place.key, str(place)) == (key, f"{path}:{mark}")


def test_steps_that_are_not_in_the_file_are_passed_over(tmp_path: Path) -> None:
    """The name of a branch of a union stands between steps, and a missing key at the end."""
    config = read(tmp_path, TEXT)
    place = config.place(("seamless", "FilesVendor", "vendors", 0, "missing"))
    assert place.key == "seamless.vendors[0]"
    assert str(place).endswith(":5:7")


def test_without_a_file_a_place_is_the_settings() -> None:
    config = ConfigText.nothing()
    assert config.data == {}
    assert str(config.place(("seamless",))) == "settings"
    assert config.place(("seamless",)).key == ""


def test_a_variable_goes_before_the_file_and_is_named(tmp_path: Path) -> None:
    config = read(tmp_path, TEXT)
    over = config.overridden(("seamless", "store"), "other", "QMTL_STORE")
    assert over.data["seamless"]["store"] == "other"
    assert str(over.place(("seamless", "store"))) == "QMTL_STORE"
    assert over.is_from_variable(("seamless", "store"))
    assert str(over.place(("seamless", "vendors"))).endswith(":4:3")
    assert config.data["seamless"]["store"] == "data"
    assert not config.is_from_variable(("seamless", "store"))


@pytest.mark.parametrize(
    ("text", "literal", "value"), [("3", False, 3), ("3", True, "3"), ("[a]", False, ["a"])]
)
def test_a_variable_is_read_as_yaml_or_literally(text: str, literal: bool, value: object) -> None:
    over = ConfigText.nothing().overridden(("seamless", "n"), text, "QMTL_N", literal=literal)
    assert over.data == {"seamless": {"n": value}}


def test_values_within_a_variable_lie_at_the_variable(tmp_path: Path) -> None:
    over = read(tmp_path, TEXT).overridden(("seamless", "vendors"), "[{name: z}]", "QMTL_VENDORS")
    place = over.place(("seamless", "vendors", 0, "name"))
    assert (place.key, str(place)) == ("seamless.vendors[0].name", "QMTL_VENDORS")


def test_a_section_that_is_no_mapping_is_left_as_it_is(tmp_path: Path) -> None:
    config = read(tmp_path, "seamless: [1]\n")
    assert config.overridden(("seamless", "store"), "x", "QMTL_STORE") is config


def test_a_variable_that_is_not_yaml_is_named() -> None:
    with pytest.raises(SettingsError, match="QMTL_N"):
        ConfigText.nothing().overridden(("seamless", "n"), "[1", "QMTL_N")
    with pytest.raises(SettingsError, match="QMTL_N:1:1: this is not YAML") as refused:
        ConfigText.nothing().overridden(("seamless", "n"), "\x1b[0m", "QMTL_N")
    assert refused.value.why == "it holds the control character #x1b"


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n"])
def test_an_empty_file_says_nothing(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text).data == {}


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    assert read(tmp_path, b"\xef\xbb\xbfseamless: {}\n").data == {"seamless": {}}


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("a: 1\nb: [\n", ":3:1: this is not YAML"),
        ("a:\n  x: 1\n  x: 2\n", ":3:3: the key 'x' is given twice"),
        ("- 1\n", ":1:1: it holds no sections with keys, such as `seamless:`"),
        ("? [a]\n: 1\n", "this is not YAML"),
        ("a: &a [*a]\n", "this is not YAML of sections and keys"),
        (b"a: \xff\n", "cannot be read"),
        ("a: 1\nb: \x00\n", ":2:4: this is not YAML"),
        ("a: 2024-13-01\n", "a value cannot be read"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_its_line(
    tmp_path: Path, text: str | bytes, what: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        read(tmp_path, text)
    assert what in refused.value.what
    assert str(tmp_path / "qmtl.yml") in refused.value.what


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read") as refused:
        ConfigText.read(tmp_path / "none.yml")
    assert "No such file" in (refused.value.why or "")


def test_aliases_of_aliases_are_refused_before_they_fill_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "qmtl.yml"
    levels = [f"b{n}: &b{n} [*b{n - 1}, *b{n - 1}]" for n in range(1, 40)]
    path.write_text("\n".join(["b0: &b0 [x, x]", *levels]))
    with pytest.raises(SettingsError, match="more than 100,000 values") as refused:
        ConfigText.read(path)
    assert "aliases" in str(refused.value.why)
