"""Fields come back as they were written, whatever else stands beside them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl.services.coordinator.grpc.protobuf import Message, chosen_number, nested, number, repeated

fields = st.integers(min_value=1, max_value=2**29 - 1)
numbers = st.integers(min_value=-(2**63), max_value=2**63 - 1)


def test_the_examples_of_the_format() -> None:
    # https://protobuf.dev/programming-guides/encoding/
    assert number(1, 150) == bytes.fromhex("089601")
    assert nested(2, b"testing") == bytes.fromhex("120774657374696e67")
    assert nested(3, number(1, 150)) == bytes.fromhex("1a03089601")
    assert number(1, -2) == bytes.fromhex("08feffffffffffffffff01")


@given(st.dictionaries(fields, numbers | st.binary() | st.lists(st.binary(), min_size=1)))
def test_what_is_written_is_read(values: dict[int, int | bytes | list[bytes]]) -> None:
    raw = b""
    for field, value in values.items():
        if isinstance(value, int):
            raw += number(field, value)
        else:
            raw += nested(field, value) if isinstance(value, bytes) else repeated(field, value)
    found = Message(raw)
    for field, value in values.items():
        if isinstance(value, int):
            assert found.number(field) == value
            assert found.unsigned(field) == value % 2**64
        elif isinstance(value, bytes):
            assert found.part(field) == value
        else:
            assert found.parts(field) == value


def test_what_is_not_there_has_its_default() -> None:
    found = Message(b"")
    assert (found.number(1), found.part(1), found.text(1), found.parts(1)) == (0, b"", "", [])
    assert found.message(1).messages(1) == []
    assert number(1, 0) == b""
    assert chosen_number(1, 0) == b"\x08\x00"


def test_unknown_fields_of_each_kind_do_no_harm() -> None:
    fixed = bytes([9 << 3 | 1]) + bytes(8) + bytes([10 << 3 | 5]) + bytes(4)
    assert Message(nested(8, b"x") + fixed + number(1, 7)).number(1) == 7


@given(st.binary(min_size=1, max_size=40))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    try:
        Message(raw)
    except ValueError:
        return


@pytest.mark.parametrize("raw", ["08", "0896", "12077465", "0901", "0d01", "0b", "08" + "ff" * 11])
def test_half_a_message_is_refused(raw: str) -> None:
    with pytest.raises(ValueError):
        Message(bytes.fromhex(raw))
