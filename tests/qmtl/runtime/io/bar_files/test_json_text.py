"""JSON that cannot be parsed is a `ValueError`, however deep it nests."""

from __future__ import annotations

import pytest

from qmtl.runtime.io.bar_files.json_text import parsed


def test_it_is_what_json_says() -> None:
    assert parsed(b'{"a": [1, 2.5, null]}') == {"a": [1, 2.5, None]}
    assert parsed("1.10", parse_float=str) == "1.10"


@pytest.mark.parametrize("text", ["", "{", "[" * 200_000])
def test_what_is_none_is_one_kind_of_error(text: str) -> None:
    with pytest.raises(ValueError):
        parsed(text)
