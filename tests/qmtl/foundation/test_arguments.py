"""An argument of a wrong kind is refused with its name, the value as it begins, and what to give."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from qmtl import InvalidRequestError
from qmtl.foundation.arguments import check_file, check_flag, check_kind


def test_a_value_of_another_kind_is_named() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        check_kind("preset", [1, 2], str, "the id of a preset")
    assert caught.value.what == "preset=[1, 2] cannot be used"
    assert caught.value.next_step == "give the id of a preset, or leave it out"
    check_kind("preset", None, str, "the id of a preset")
    check_kind("preset", "majors", str, "the id of a preset")


@pytest.mark.parametrize("value", [1, 0, None, "yes", pl.DataFrame()])
def test_what_is_neither_true_nor_false_is_refused(value: object) -> None:
    with pytest.raises(InvalidRequestError, match="give True or False"):
        check_flag("isolate", value)


@pytest.mark.parametrize("value", [b"run.state", 5, True, "", ["run.state"]])
def test_what_names_no_file_is_refused(value: object) -> None:
    with pytest.raises(InvalidRequestError, match=r"resume=.* cannot be used"):
        check_file("resume", value)
    for file in (None, "run.state", Path("run.state")):
        check_file("resume", file)


def test_of_a_long_value_only_its_beginning_is_told() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        check_flag("isolate", "x" * 10_000)
    assert len(caught.value.what) < 100
