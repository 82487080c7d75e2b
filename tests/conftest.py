"""What holds for all tests."""

from __future__ import annotations

import os

from hypothesis import settings

# A busy machine is no defect of the code: how long one example takes says nothing here. In continuous
# integration the examples are the same for the same code, so that a change is judged by what it changes;
# everybody else searches on with new ones.
settings.register_profile("qmtl", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("qmtl")
