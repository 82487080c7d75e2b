"""A pause of the garbage collector ends with its block, and leaves one alone that was off."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from qmtl.foundation.collector import collector_paused


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    gc.enable()


@pytest.mark.parametrize("is_on", [True, False])
def test_it_is_as_before_whatever_is_raised(is_on: bool) -> None:
    if not is_on:
        gc.disable()
    seen = []

    def fails() -> None:
        with collector_paused():
            with collector_paused():
                seen.append(gc.isenabled())
            seen.append(gc.isenabled())
            raise LookupError

    with pytest.raises(LookupError):
        fails()
    assert seen == [False, False]
    assert gc.isenabled() is is_on
