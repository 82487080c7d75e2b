"""Skips what this system cannot do, with its reason."""

from __future__ import annotations

import os

import pytest

from qmtl.runtime.sdk.isolation.sandbox import why_not


@pytest.fixture(autouse=True)
def _possible() -> None:
    if reason := why_not():
        if os.environ.get("QMTL_TEST_REQUIRE", "") in ("all", "landlock"):
            pytest.fail(reason)
        pytest.skip(reason)
