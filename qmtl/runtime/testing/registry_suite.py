"""What every schema registry promises, in this process or behind a URL: all suites of `registry_suites`."""

from __future__ import annotations

from qmtl.runtime.testing.registry_suites.at_once import AtOnceSuite
from qmtl.runtime.testing.registry_suites.deletion import DeletionSuite
from qmtl.runtime.testing.registry_suites.levels import LevelsSuite
from qmtl.runtime.testing.registry_suites.modes import ModesSuite
from qmtl.runtime.testing.registry_suites.references import ReferencesSuite
from qmtl.runtime.testing.registry_suites.refused import RefusedSchemasSuite
from qmtl.runtime.testing.registry_suites.versions import VersionsSuite


class RegistrySuite(
    VersionsSuite,
    RefusedSchemasSuite,
    ReferencesSuite,
    DeletionSuite,
    LevelsSuite,
    ModesSuite,
    AtOnceSuite,
):
    """Inherit it, and give a fixture `registry` that is a client of an empty registry."""
