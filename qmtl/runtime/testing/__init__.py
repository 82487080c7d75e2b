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
    "qmtl.runtime.testing.polygon": ("SimulatedPolygon",),
    "qmtl.runtime.testing.governance_suite": ("GovernanceRecordsSuite",),
    "qmtl.runtime.testing.lease_suite": ("LeaseSuite",),
    "qmtl.runtime.testing.registry_model": ("ModelRegistry", "RegistryMachine"),
    "qmtl.runtime.testing.registry_storage_suite": ("RegistryStorageSuite",),
    "qmtl.runtime.testing.registry_suite": ("RegistrySuite",),
    "qmtl.runtime.testing.store_model": ("ModelStore", "StoreMachine"),
    "qmtl.runtime.testing.store_proxy": ("StoreProxy",),
    "qmtl.runtime.testing.store_suite": ("StoreSuite",),
    "qmtl.runtime.testing.store_suites.changes": ("ChangeLogSuite",),
    "qmtl.runtime.testing.store_suites.facts": ("DeclarationsSuite",),
    "qmtl.runtime.testing.store_suites.fencing": ("FencingSuite",),
    "qmtl.runtime.testing.store_suites.flags": ("FlagArchiveSuite",),
    "qmtl.runtime.testing.store_suites.history": ("HistorySuite",),
    "qmtl.runtime.testing.store_suites.inventory": ("InventorySuite",),
    "qmtl.runtime.testing.store_suites.quarantine": ("QuarantineSuite",),
    "qmtl.runtime.testing.store_suites.reader": ("BarReaderSuite",),
    "qmtl.runtime.testing.store_suites.reports": ("ReportArchiveSuite",),
    "qmtl.runtime.testing.store_suites.several": ("SeveralSeriesSuite",),
    "qmtl.runtime.testing.store_suites.writer": ("BarWriterSuite",),
    "qmtl.runtime.testing.vendor_suite": ("Known", "VendorSuite"),
    "qmtl.runtime.testing.vendors": (
        "VendorCall",
        "Change",
        "Hang",
        "Raise",
        "ScriptedFeed",
        "ScriptedVendor",
        "Stop",
        "Deliver",
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


if TYPE_CHECKING:  # what __getattr__ gives, for type checkers and editors
    from qmtl.runtime.testing.bars import synthetic_bars as synthetic_bars
    from qmtl.runtime.testing.clock import FakeClock as FakeClock
    from qmtl.runtime.testing.exchange import SimulatedExchange as SimulatedExchange
    from qmtl.runtime.testing.governance_suite import GovernanceRecordsSuite as GovernanceRecordsSuite
    from qmtl.runtime.testing.lease_suite import LeaseSuite as LeaseSuite
    from qmtl.runtime.testing.polygon import SimulatedPolygon as SimulatedPolygon
    from qmtl.runtime.testing.registry_model import ModelRegistry as ModelRegistry
    from qmtl.runtime.testing.registry_model import RegistryMachine as RegistryMachine
    from qmtl.runtime.testing.registry_storage_suite import RegistryStorageSuite as RegistryStorageSuite
    from qmtl.runtime.testing.registry_suite import RegistrySuite as RegistrySuite
    from qmtl.runtime.testing.store_model import ModelStore as ModelStore
    from qmtl.runtime.testing.store_model import StoreMachine as StoreMachine
    from qmtl.runtime.testing.store_proxy import StoreProxy as StoreProxy
    from qmtl.runtime.testing.store_suite import StoreSuite as StoreSuite
    from qmtl.runtime.testing.store_suites.changes import ChangeLogSuite as ChangeLogSuite
    from qmtl.runtime.testing.store_suites.facts import DeclarationsSuite as DeclarationsSuite
    from qmtl.runtime.testing.store_suites.fencing import FencingSuite as FencingSuite
    from qmtl.runtime.testing.store_suites.flags import FlagArchiveSuite as FlagArchiveSuite
    from qmtl.runtime.testing.store_suites.history import HistorySuite as HistorySuite
    from qmtl.runtime.testing.store_suites.inventory import InventorySuite as InventorySuite
    from qmtl.runtime.testing.store_suites.quarantine import QuarantineSuite as QuarantineSuite
    from qmtl.runtime.testing.store_suites.reader import BarReaderSuite as BarReaderSuite
    from qmtl.runtime.testing.store_suites.reports import ReportArchiveSuite as ReportArchiveSuite
    from qmtl.runtime.testing.store_suites.several import SeveralSeriesSuite as SeveralSeriesSuite
    from qmtl.runtime.testing.store_suites.writer import BarWriterSuite as BarWriterSuite
    from qmtl.runtime.testing.vendor_suite import Known as Known
    from qmtl.runtime.testing.vendor_suite import VendorSuite as VendorSuite
    from qmtl.runtime.testing.vendors import Change as Change
    from qmtl.runtime.testing.vendors import Deliver as Deliver
    from qmtl.runtime.testing.vendors import Hang as Hang
    from qmtl.runtime.testing.vendors import Raise as Raise
    from qmtl.runtime.testing.vendors import ScriptedFeed as ScriptedFeed
    from qmtl.runtime.testing.vendors import ScriptedVendor as ScriptedVendor
    from qmtl.runtime.testing.vendors import Stop as Stop
    from qmtl.runtime.testing.vendors import VendorCall as VendorCall
