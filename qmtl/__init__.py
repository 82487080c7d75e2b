"""Every bar of a series over a time range, checked, in time, with a receipt - or an error that says why not.

Every public name is importable from here and is loaded when it is first used, so that `import qmtl` is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "qmtl.foundation.calendars": ("Calendar", "WeeklyCalendar"),
    "qmtl.foundation.errors": (
        "ConformancePipelineError",
        "InvalidRequestError",
        "MissingDataError",
        "MissingDependencyError",
        "QmtlError",
        "SeamlessSLAExceeded",
        "SettingsError",
        "SourceUnavailableError",
        "StoreCorruptError",
        "StoreError",
        "StoreLockedError",
    ),
    "qmtl.foundation.facts": ("SeriesFacts",),
    "qmtl.foundation.series": ("SeriesId", "Timeframe"),
    "qmtl.foundation.sla": ("SLAPolicy",),
    "qmtl.foundation.states": ("BarStates",),
    "qmtl.foundation.timeline": ("Coverage", "Span"),
    "qmtl.foundation.times": ("NaiveTimeWarning",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = ["__version__", *sorted(_HOME)]


def __getattr__(name: str) -> Any:
    try:
        value = getattr(import_module(_HOME[name]), name)
    except KeyError:
        raise AttributeError(f"module 'qmtl' has no attribute {name!r}") from None
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


if TYPE_CHECKING:  # what __getattr__ gives, told to type checkers and editors
    from qmtl.foundation.errors import QmtlError as QmtlError
