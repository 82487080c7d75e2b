"""One tree of errors; each carries its facts as fields and says what to do next.

QmtlError
├── InvalidRequestError (ValueError)      a request, file or value that cannot be used
│   └── SettingsError                     the same, in qmtl.yml or a QMTL_ variable
├── MissingDataError (LookupError)        bars are unknown or absent at the end of a fetch
├── ConformancePipelineError              the data is impossible or suspicious
├── SeamlessSLAExceeded (TimeoutError)    a budget is spent, or a bound is passed
├── SourceUnavailableError (ConnectionError)  a vendor or feed failed outright
├── SchemaValidationError                 rows break the schema that is in force, in strict mode
├── SchemaRegistryError                   a schema registry refuses; `code` says why
│   ├── IncompatibleSchemaError           the schema would break readers or writers
│   └── RegistryUnavailableError (ConnectionError)  it cannot be reached: nothing was checked
├── MissingDependencyError (ImportError)  an optional package is not installed
├── GovernanceError                       a step in the life of a schema is refused
│   ├── PromotionRefusedError             the observations do not bear it
│   ├── TombstonedError                   this version is not for new readers
│   └── AuditLogError                     the log was changed, cut or torn
└── StoreError                            the store cannot be used
    ├── StoreCorruptError                 its bytes are damaged or foreign
    └── StoreLockedError                  another process holds it for too long
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from qmtl.foundation.schema.compatibility.levels import Comparison
    from qmtl.foundation.timeline import Coverage, Span


class QmtlError(Exception):
    """Base of all errors of this package.

    `what` is one sentence fragment; `series`, `span`, `why` and `next_step` complete it. `others` are errors
    that apply as well, in the order in which they would have been raised: this one is the first of them.
    `str()` gives the whole message, ready for a person. Options and verbs of the Python API stand in
    backquotes, as `partial_ok=True` and `backfill(...)`, so that other faces can put it in their own words.
    """

    def __init__(
        self,
        what: str,
        *,
        series: object = None,
        span: Span | None = None,
        why: str | None = None,
        next_step: str | None = None,
        others: Iterable[QmtlError] = (),
    ) -> None:
        super().__init__(what)
        self.what = what
        self.series = None if series is None else str(series)
        self.span = span
        self.why = why
        self.next_step = next_step
        self.others = tuple(others)

    def __str__(self) -> str:
        text = self.what
        if self.series is not None:
            text += f"\n  series: {self.series}"
        if self.span is not None:
            text += f"\n  range:  {self.span}"
        if self.why is not None:
            text += f"\n  why:    {self.why}"
        if self.next_step is not None:
            text += f"\n  next:   {self.next_step}"
        for other in self.others:
            whose = "" if other.series in (None, self.series) else f"{other.series}: "
            text += f"\n  also:   {whose}{other.what}"
        return text

    def __reduce__(self) -> tuple[Any, ...]:
        from qmtl.foundation.pickled import pickled

        # Exceptions cross process borders in test runners and pools; the default only keeps `args`.
        return pickled(_restored, type(self), self.args, self.__dict__)


def _restored(kind: type[QmtlError], args: tuple[Any, ...], facts: dict[str, Any]) -> QmtlError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(facts)
    return error


def first_of(errors: Iterable[QmtlError]) -> QmtlError:
    """The first of these errors (at least one), which lists the rest of them as its `others`.

    It is a copy where there are others: the same error may have been raised to somebody else, too.
    """
    first, *rest = errors
    if not rest:
        return first
    whole = copy(first)
    whole.others = (*first.others, *rest)
    whole.__cause__ = first.__cause__
    return whole


class InvalidRequestError(QmtlError, ValueError):
    """A request, a file or a value that cannot be used as it is."""


class SettingsError(InvalidRequestError):
    """A key or a value of qmtl.yml, or of a QMTL_ variable, that cannot be used."""


class MissingDataError(QmtlError, LookupError):
    """Bars are missing. `holes` maps a state ("unknown", "absent") to the `Coverage` of its bars."""

    def __init__(self, what: str, *, holes: Mapping[str, Coverage], **facts: Any) -> None:
        super().__init__(what, **facts)
        self.holes = dict(holes)


class ConformancePipelineError(QmtlError):
    """The data breaks a rule. `report` is the whole `ConformanceReport`."""

    def __init__(self, what: str, *, report: Any, **facts: Any) -> None:
        super().__init__(what, **facts)
        self.report = report


class SeamlessSLAExceeded(QmtlError, TimeoutError):
    """A budget is spent, or a bound is passed.

    `phase` is one of storage_wait, backfill_wait, live_wait, total (then `budget_s` and `elapsed_s` are
    seconds) or sync_gap (bars), min_coverage (fraction), max_lag (seconds), with `limit` and `observed`.
    `ledger` maps each phase to the seconds it took. If a source ignored its cancellation and was left behind,
    `abandoned` names it there, in a tuple.
    """

    def __init__(
        self,
        what: str,
        *,
        phase: str,
        ledger: Mapping[str, Any],
        budget_s: float | None = None,
        elapsed_s: float | None = None,
        limit: float | None = None,
        observed: float | None = None,
        **facts: Any,
    ) -> None:
        super().__init__(what, **facts)
        self.phase = phase
        self.ledger = dict(ledger)
        self.budget_s = budget_s
        self.elapsed_s = elapsed_s
        self.limit = limit
        self.observed = observed


class SourceUnavailableError(QmtlError, ConnectionError):
    """A vendor or a live feed failed outright. `source` is its name."""

    def __init__(self, what: str, *, source: str, **facts: Any) -> None:
        super().__init__(what, **facts)
        self.source = source


class SchemaValidationError(QmtlError):
    """Rows break the registered schema. `problems` holds every one of them, at once.

    `subject` is that of the registry, `mode` the one that refused them (canary or strict: what the store
    cannot hold is refused in both).
    """

    def __init__(self, what: str, *, subject: str, mode: str, problems: Iterable[Any], **facts: Any) -> None:
        super().__init__(what, **facts)
        self.subject = subject
        self.mode = mode
        self.problems = tuple(problems)


class SchemaRegistryError(QmtlError):
    """A schema registry refuses. `code` is the `error_code` of Confluent's REST API, `status` HTTP's."""

    def __init__(self, what: str, *, code: int, **facts: Any) -> None:
        super().__init__(what, **facts)
        self.code = code

    @property
    def status(self) -> int:
        # 40401 is a kind of 404. Codes of three digits are those of HTTP itself.
        return self.code // 100 if self.code > 999 else self.code


class IncompatibleSchemaError(SchemaRegistryError):
    """40901: the schema would break readers or writers. `comparisons` are all that were made."""

    def __init__(
        self, what: str, *, comparisons: Iterable[Comparison], code: int = 40901, **facts: Any
    ) -> None:
        super().__init__(what, code=code, **facts)
        self.comparisons = tuple(comparisons)


class RegistryUnavailableError(SchemaRegistryError, ConnectionError):
    """The registry at `url` cannot be reached: whatever was asked could not be checked."""

    def __init__(self, what: str, *, url: str, code: int = 503, **facts: Any) -> None:
        super().__init__(what, code=code, **facts)
        self.url = url


class MissingDependencyError(QmtlError, ImportError):
    """An optional package is not installed; `next_step` is the command that installs it."""

    def __init__(self, package: str, *, extra: str) -> None:
        super().__init__(
            f"the package {package!r} is not installed", next_step=f"pip install 'qmtl[{extra}]'"
        )
        self.package = package
        self.extra = extra


class GovernanceError(QmtlError):
    """A step in the life of a schema is refused. `subject` is the one it is about, or None."""

    def __init__(self, what: str, *, subject: str | None = None, **facts: Any) -> None:
        super().__init__(what, **facts)
        self.subject = subject


class PromotionRefusedError(GovernanceError):
    """Strict validation is not borne out by what was observed.

    `version` is the one in force, `evidence` says the window and what was checked and failed within it.
    """

    def __init__(self, what: str, *, version: int, evidence: Mapping[str, Any], **facts: Any) -> None:
        super().__init__(what, **facts)
        self.version = version
        self.evidence = dict(evidence)


class TombstonedError(GovernanceError):
    """This version of a schema is refused to new readers; `reason` is what was said of it."""

    def __init__(self, what: str, *, version: int, reason: str, **facts: Any) -> None:
        super().__init__(what, **facts)
        self.version = version
        self.reason = reason


class AuditLogError(GovernanceError):
    """The audit log of schemas does not hold. `problems` are all that was found, in order."""

    def __init__(self, what: str, *, path: object, problems: Iterable[str], **facts: Any) -> None:
        super().__init__(what, **facts)
        self.path = str(path)
        self.problems = tuple(problems)


class StoreError(QmtlError):
    """The store cannot be used as asked. `path` is its directory."""

    def __init__(self, what: str, *, path: object = None, **facts: Any) -> None:
        super().__init__(what, **facts)
        self.path = None if path is None else str(path)

    def __str__(self) -> str:
        text = super().__str__()
        return text if self.path is None else f"{text}\n  store:  {self.path}"


class StoreCorruptError(StoreError):
    """The bytes of the store are damaged, or are not a store of this format.

    `damaged` are the ranges that cannot be read, where they are known; None where it is the whole file.
    """

    def __init__(self, what: str, *, damaged: Coverage | None = None, **facts: Any) -> None:
        super().__init__(what, **facts)
        self.damaged = damaged


class StoreLockedError(StoreError):
    """Another process has held the store's lock for too long."""
