"""What holds for all tests."""

from __future__ import annotations

from hypothesis import settings

# A busy machine is no defect of the code: how long one example takes says nothing here.
settings.register_profile("qmtl", deadline=None)
settings.load_profile("qmtl")
