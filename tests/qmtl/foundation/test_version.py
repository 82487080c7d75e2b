"""The release that the package names is the one that is installed."""

from __future__ import annotations

import tomllib
from importlib.metadata import version
from pathlib import Path

from qmtl.foundation.version import __version__


def test_the_version_is_that_of_the_project() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    assert __version__ == project["version"] == version("qmtl")
