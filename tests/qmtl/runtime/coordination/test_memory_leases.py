"""Leases of one process keep the same promises, and remember what was completed."""

from __future__ import annotations

import pytest

from qmtl.runtime.coordination.memory_leases import MemoryLeases
from qmtl.runtime.testing.lease_suite import Connect, LeaseSuite


class TestMemoryLeases(LeaseSuite):
    remembers = True

    @pytest.fixture
    def connect(self) -> Connect:
        leases = MemoryLeases()
        return lambda: leases
