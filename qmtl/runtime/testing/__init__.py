"""What a user's own tests need: made-up markets, scripted sources, virtual time, suites for contracts.

Names are loaded when they are first used; some need the extra `qmtl[testing]`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {
    "qmtl.runtime.testing.bars": ("synthetic_bars",),
    "qmtl.runtime.testing.clock": ("FakeClock",),
    "qmtl.runtime.testing.exchange": ("SimulatedExchange",),
    "qmtl.runtime.testing.registry_model": ("ModelRegistry", "RegistryMachine"),
    "qmtl.runtime.testing.registry_storage_suite": ("RegistryStorageSuite",),
    "qmtl.runtime.testing.registry_suite": ("RegistrySuite",),
    "qmtl.runtime.testing.store_model": ("ModelStore", "StoreMachine"),
    "qmtl.runtime.testing.store_suite": ("StoreSuite",),
    "qmtl.runtime.testing.vendor_suite": ("Known", "VendorSuite"),
    "qmtl.runtime.testing.vendors": (
        "Asked",
        "Change",
        "Hang",
        "Raise",
        "ScriptedFeed",
        "ScriptedVendor",
        "Stop",
        "Tell",
    ),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    try:
        home = _HOME[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


if TYPE_CHECKING:  # what __getattr__ gives, told to type checkers and editors
    from qmtl.runtime.testing.bars import synthetic_bars as synthetic_bars
    from qmtl.runtime.testing.clock import FakeClock as FakeClock
    from qmtl.runtime.testing.exchange import SimulatedExchange as SimulatedExchange
    from qmtl.runtime.testing.registry_model import ModelRegistry as ModelRegistry
    from qmtl.runtime.testing.registry_model import RegistryMachine as RegistryMachine
    from qmtl.runtime.testing.registry_storage_suite import RegistryStorageSuite as RegistryStorageSuite
    from qmtl.runtime.testing.registry_suite import RegistrySuite as RegistrySuite
    from qmtl.runtime.testing.store_model import ModelStore as ModelStore
    from qmtl.runtime.testing.store_model import StoreMachine as StoreMachine
    from qmtl.runtime.testing.store_suite import StoreSuite as StoreSuite
    from qmtl.runtime.testing.vendor_suite import Known as Known
    from qmtl.runtime.testing.vendor_suite import VendorSuite as VendorSuite
    from qmtl.runtime.testing.vendors import Asked as Asked
    from qmtl.runtime.testing.vendors import Change as Change
    from qmtl.runtime.testing.vendors import Hang as Hang
    from qmtl.runtime.testing.vendors import Raise as Raise
    from qmtl.runtime.testing.vendors import ScriptedFeed as ScriptedFeed
    from qmtl.runtime.testing.vendors import ScriptedVendor as ScriptedVendor
    from qmtl.runtime.testing.vendors import Stop as Stop
    from qmtl.runtime.testing.vendors import Tell as Tell
