"""Every bar of a series over a time range, checked, in time, with a receipt - or an error that says why not.

Every public name is importable from here and is loaded when it is first used, so that `import qmtl` is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from qmtl.foundation.collector import collector_paused
from qmtl.foundation.version import __version__

if TYPE_CHECKING:  # what __getattr__ gives, for type checkers and editors
    from qmtl.foundation.calendars import (
        Calendar as Calendar,
    )
    from qmtl.foundation.calendars import (
        WeeklyCalendar as WeeklyCalendar,
    )
    from qmtl.foundation.errors import (
        AuditLogError as AuditLogError,
    )
    from qmtl.foundation.errors import (
        ConformancePipelineError as ConformancePipelineError,
    )
    from qmtl.foundation.errors import (
        CoordinatorUnavailableError as CoordinatorUnavailableError,
    )
    from qmtl.foundation.errors import (
        GovernanceError as GovernanceError,
    )
    from qmtl.foundation.errors import (
        IncompatibleSchemaError as IncompatibleSchemaError,
    )
    from qmtl.foundation.errors import (
        InvalidRequestError as InvalidRequestError,
    )
    from qmtl.foundation.errors import (
        LeaseError as LeaseError,
    )
    from qmtl.foundation.errors import (
        LookAheadError as LookAheadError,
    )
    from qmtl.foundation.errors import (
        MissingDataError as MissingDataError,
    )
    from qmtl.foundation.errors import (
        MissingDependencyError as MissingDependencyError,
    )
    from qmtl.foundation.errors import (
        PromotionRefusedError as PromotionRefusedError,
    )
    from qmtl.foundation.errors import (
        ProofError as ProofError,
    )
    from qmtl.foundation.errors import (
        QmtlError as QmtlError,
    )
    from qmtl.foundation.errors import (
        RegistryUnavailableError as RegistryUnavailableError,
    )
    from qmtl.foundation.errors import (
        SchemaRegistryError as SchemaRegistryError,
    )
    from qmtl.foundation.errors import (
        SchemaValidationError as SchemaValidationError,
    )
    from qmtl.foundation.errors import (
        SeamlessSLAExceeded as SeamlessSLAExceeded,
    )
    from qmtl.foundation.errors import (
        SettingsError as SettingsError,
    )
    from qmtl.foundation.errors import (
        SourceUnavailableError as SourceUnavailableError,
    )
    from qmtl.foundation.errors import (
        StaleFenceError as StaleFenceError,
    )
    from qmtl.foundation.errors import (
        StoreCorruptError as StoreCorruptError,
    )
    from qmtl.foundation.errors import (
        StoreError as StoreError,
    )
    from qmtl.foundation.errors import (
        StoreLockedError as StoreLockedError,
    )
    from qmtl.foundation.errors import (
        StrategyError as StrategyError,
    )
    from qmtl.foundation.errors import (
        TombstonedError as TombstonedError,
    )
    from qmtl.foundation.facts import SeriesFacts as SeriesFacts
    from qmtl.foundation.series import (
        SeriesId as SeriesId,
    )
    from qmtl.foundation.series import (
        Timeframe as Timeframe,
    )
    from qmtl.foundation.sla import SLAPolicy as SLAPolicy
    from qmtl.foundation.states import BarStates as BarStates
    from qmtl.foundation.timeline import (
        Coverage as Coverage,
    )
    from qmtl.foundation.timeline import (
        Span as Span,
    )
    from qmtl.foundation.times import (
        NaiveTimeWarning as NaiveTimeWarning,
    )
    from qmtl.foundation.times import (
        SmallIntWarning as SmallIntWarning,
    )
    from qmtl.runtime.conformance.findings import Finding as Finding
    from qmtl.runtime.conformance.pipeline import ConformancePipeline as ConformancePipeline
    from qmtl.runtime.conformance.report import ConformanceReport as ConformanceReport
    from qmtl.runtime.conformance.universe import UniverseReport as UniverseReport
    from qmtl.runtime.coordination.distributed import (
        DistributedBackfillCoordinator as DistributedBackfillCoordinator,
    )
    from qmtl.runtime.coordination.ray_executor import RayExecutor as RayExecutor
    from qmtl.runtime.io.snapshots.writing import SnapshotWritten as SnapshotWritten
    from qmtl.runtime.io.vendors.base import (
        LiveFeed as LiveFeed,
    )
    from qmtl.runtime.io.vendors.base import (
        Page as Page,
    )
    from qmtl.runtime.io.vendors.base import (
        Update as Update,
    )
    from qmtl.runtime.io.vendors.base import (
        Vendor as Vendor,
    )
    from qmtl.runtime.io.vendors.ccxt import CcxtVendor as CcxtVendor
    from qmtl.runtime.io.vendors.files import FilesVendor as FilesVendor
    from qmtl.runtime.io.vendors.polygon import PolygonVendor as PolygonVendor
    from qmtl.runtime.io.vendors.questdb import QuestDBVendor as QuestDBVendor
    from qmtl.runtime.io.vendors.snapshot import SnapshotVendor as SnapshotVendor
    from qmtl.runtime.replay.bars import Bar as Bar
    from qmtl.runtime.replay.bars import Gap as Gap
    from qmtl.runtime.replay.bars import Revision as Revision
    from qmtl.runtime.replay.orders import Fill as Fill
    from qmtl.runtime.replay.orders import FillModel as FillModel
    from qmtl.runtime.replay.orders import Order as Order
    from qmtl.runtime.replay.portfolio import Portfolio as Portfolio
    from qmtl.runtime.sdk.corrections import (
        RefreshResult as RefreshResult,
    )
    from qmtl.runtime.sdk.corrections import (
        RetractResult as RetractResult,
    )
    from qmtl.runtime.sdk.history_coverage import (
        compute_missing_ranges as compute_missing_ranges,
    )
    from qmtl.runtime.sdk.history_coverage import (
        merge_coverage as merge_coverage,
    )
    from qmtl.runtime.sdk.import_commit import ImportResult as ImportResult
    from qmtl.runtime.sdk.importing import (
        import_file as import_file,
    )
    from qmtl.runtime.sdk.importing import (
        import_frame as import_frame,
    )
    from qmtl.runtime.sdk.proof import Proof as Proof
    from qmtl.runtime.sdk.provider import SeamlessDataProvider as SeamlessDataProvider
    from qmtl.runtime.sdk.questdb_provider import EnhancedQuestDBProvider as EnhancedQuestDBProvider
    from qmtl.runtime.sdk.receipt import Receipt as Receipt
    from qmtl.runtime.sdk.results import (
        FetchResult as FetchResult,
    )
    from qmtl.runtime.sdk.results import (
        Pending as Pending,
    )
    from qmtl.runtime.sdk.results_many import BackfillManyResult as BackfillManyResult
    from qmtl.runtime.sdk.results_many import FetchManyResult as FetchManyResult
    from qmtl.runtime.sdk.run_result import RunResult as RunResult
    from qmtl.runtime.sdk.runner import Runner as Runner
    from qmtl.runtime.sdk.snapshot_export import export_snapshot as export_snapshot
    from qmtl.runtime.sdk.snapshot_import import SnapshotLoaded as SnapshotLoaded
    from qmtl.runtime.sdk.snapshot_import import import_snapshot as import_snapshot
    from qmtl.runtime.sdk.strategy import Strategy as Strategy
    from qmtl.runtime.sdk.strategy import StreamInput as StreamInput
    from qmtl.runtime.sdk.strategy import node as node

_HOMES = {
    "qmtl.foundation.calendars": ("Calendar", "WeeklyCalendar"),
    "qmtl.foundation.errors": (
        "AuditLogError",
        "ConformancePipelineError",
        "CoordinatorUnavailableError",
        "GovernanceError",
        "IncompatibleSchemaError",
        "InvalidRequestError",
        "LeaseError",
        "LookAheadError",
        "MissingDataError",
        "MissingDependencyError",
        "PromotionRefusedError",
        "ProofError",
        "QmtlError",
        "RegistryUnavailableError",
        "SchemaRegistryError",
        "SchemaValidationError",
        "SeamlessSLAExceeded",
        "SettingsError",
        "SourceUnavailableError",
        "StaleFenceError",
        "StoreCorruptError",
        "StoreError",
        "StoreLockedError",
        "StrategyError",
        "TombstonedError",
    ),
    "qmtl.foundation.facts": ("SeriesFacts",),
    "qmtl.foundation.series": ("SeriesId", "Timeframe"),
    "qmtl.foundation.sla": ("SLAPolicy",),
    "qmtl.foundation.states": ("BarStates",),
    "qmtl.foundation.timeline": ("Coverage", "Span"),
    "qmtl.foundation.times": ("NaiveTimeWarning", "SmallIntWarning"),
    "qmtl.runtime.conformance.findings": ("Finding",),
    "qmtl.runtime.conformance.pipeline": ("ConformancePipeline",),
    "qmtl.runtime.conformance.report": ("ConformanceReport",),
    "qmtl.runtime.conformance.universe": ("UniverseReport",),
    "qmtl.runtime.coordination.distributed": ("DistributedBackfillCoordinator",),
    "qmtl.runtime.coordination.ray_executor": ("RayExecutor",),
    "qmtl.runtime.io.snapshots.writing": ("SnapshotWritten",),
    "qmtl.runtime.io.vendors.ccxt": ("CcxtVendor",),
    "qmtl.runtime.io.vendors.files": ("FilesVendor",),
    "qmtl.runtime.io.vendors.polygon": ("PolygonVendor",),
    "qmtl.runtime.io.vendors.questdb": ("QuestDBVendor",),
    "qmtl.runtime.io.vendors.snapshot": ("SnapshotVendor",),
    "qmtl.runtime.io.vendors.base": ("LiveFeed", "Page", "Update", "Vendor"),
    "qmtl.runtime.replay.bars": ("Bar", "Gap", "Revision"),
    "qmtl.runtime.replay.orders": ("Fill", "FillModel", "Order"),
    "qmtl.runtime.replay.portfolio": ("Portfolio",),
    "qmtl.runtime.sdk.corrections": ("RefreshResult", "RetractResult"),
    "qmtl.runtime.sdk.history_coverage": ("compute_missing_ranges", "merge_coverage"),
    "qmtl.runtime.sdk.import_commit": ("ImportResult",),
    "qmtl.runtime.sdk.importing": ("import_file", "import_frame"),
    "qmtl.runtime.sdk.proof": ("Proof",),
    "qmtl.runtime.sdk.provider": ("SeamlessDataProvider",),
    "qmtl.runtime.sdk.questdb_provider": ("EnhancedQuestDBProvider",),
    "qmtl.runtime.sdk.receipt": ("Receipt",),
    "qmtl.runtime.sdk.results": ("FetchResult", "Pending"),
    "qmtl.runtime.sdk.results_many": ("BackfillManyResult", "FetchManyResult"),
    "qmtl.runtime.sdk.run_result": ("RunResult",),
    "qmtl.runtime.sdk.runner": ("Runner",),
    "qmtl.runtime.sdk.snapshot_export": ("export_snapshot",),
    "qmtl.runtime.sdk.snapshot_import": ("SnapshotLoaded", "import_snapshot"),
    "qmtl.runtime.sdk.strategy": ("Strategy", "StreamInput", "node"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = ["__version__", *sorted(_HOME)]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'qmtl' has no attribute {name!r}")
    # All that modules make as they load is there to stay: to look through it for garbage, time and again,
    # takes a tenth of the time that `from qmtl import SeamlessDataProvider` takes.
    with collector_paused():
        value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
