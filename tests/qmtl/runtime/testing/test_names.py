"""What the folder offers is there, and costs nothing until it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

from qmtl.runtime import testing


@pytest.mark.parametrize("name", testing.__all__)
def test_every_name_is_there(name: str) -> None:
    assert getattr(testing, name).__name__ == name
    assert name in dir(testing)


def test_a_wrong_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'NoSuch'"):
        _ = testing.NoSuch


def test_importing_it_loads_nothing_heavy() -> None:
    script = "import sys, qmtl.runtime.testing; print(*sys.modules)"
    reported = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"polars", "pytest", "aiohttp", "hypothesis"} & set(reported.stdout.split())
