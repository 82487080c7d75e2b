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
├── StrategyError                         a strategy of the user's raised an error of its own
├── LookAheadError                        a strategy tried to learn what it could not know
├── ProofError                            a run that was repeated came to something else
├── LeaseError                            a claim on a shard does not hold, or cannot be made
├── CoordinatorUnavailableError (ConnectionError)  the keeper of leases cannot be reached, or cannot work
├── GovernanceError                       a step in the life of a schema is refused
│   ├── PromotionRefusedError             the observations do not support it
│   ├── TombstonedError                   this version is not for new readers
│   └── AuditLogError                     the log was changed, cut or torn
└── StoreError                            the store cannot be used
    ├── StoreCorruptError                 its bytes are damaged or foreign
    ├── StoreLockedError                  another process holds it for too long
    └── StaleFenceError                   a write comes under a token that was overtaken
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qmtl.foundation.base_error import InvalidRequestError as InvalidRequestError
from qmtl.foundation.base_error import QmtlError as QmtlError
from qmtl.foundation.base_error import first_of as first_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from qmtl.foundation.schema.compatibility.levels import Comparison
    from qmtl.foundation.timeline import Coverage


class SettingsError(InvalidRequestError):
    """A key or a value of qmtl.yml, of a QMTL_ variable or of a world file that cannot be used."""


class MissingDataError(QmtlError, LookupError):
    """Bars are missing. `holes` maps a state ("unknown", "absent") to the `Coverage` of its bars."""

    def __init__(self, what: str, *, holes: Mapping[str, Coverage], **facts: Any) -> None:
        super().__init__(what, **facts)
        self.holes = dict(holes)


class StrategyError(QmtlError):
    """A strategy, or a node of it, raised an error, which is the cause of this one.

    `bar_ts` is when the bar opened at which it happened (int ns UTC); `nodes` are the values of its nodes.
    `alone` are the parameters of `Runner.submit` that run this bar alone, where a bar can be named.
    """

    def __init__(
        self, what: str, *, bar_ts: int, nodes: Mapping[str, object] | None = None, **facts: Any
    ) -> None:
        super().__init__(what, **facts)
        self.bar_ts = bar_ts
        self.alone: dict[str, str | int] = {}
        self.nodes = dict(nodes or {})


class LookAheadError(QmtlError):
    """A strategy tried to learn what it could not know at the bar that it decided on. `tried` says how.

    Where polars has brought it from one thread to another, only the message is left.
    """

    def __init__(self, what: str, *, tried: str | None = None, **facts: Any) -> None:
        super().__init__(what, **facts)
        self.tried = tried


class ProofError(QmtlError):
    """A run that was repeated differs from its proof. `differences` are words for each of them."""

    def __init__(self, what: str, *, differences: Iterable[str], **facts: Any) -> None:
        super().__init__(what, **facts)
        self.differences = tuple(differences)


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
    """A vendor or a live feed failed outright. `source` is its name.

    is_away: nobody can reach it at all, or is to ask it for a while: it is not these bars that fail.
    """

    is_away: bool = False  # of pickles that do not say

    def __init__(self, what: str, *, source: str, is_away: bool = False, **facts: Any) -> None:
        super().__init__(what, **facts)
        self.source = source
        self.is_away = is_away


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
    """The registry at `url` cannot be reached: the check could not be made."""

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
    """This version of a schema is refused to new readers; `reason` is the reason recorded with it."""

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


class LeaseError(QmtlError):
    """A claim on a shard of a backfill does not hold (any more). `lease_key` is
    `<store>/<series>/<shard>`, or empty where it is not about a shard."""

    def __init__(self, what: str, *, lease_key: str, **facts: Any) -> None:
        super().__init__(what, **facts)
        self.lease_key = lease_key

    def __str__(self) -> str:
        text = super().__str__()
        return f"{text}\n  lease:  {self.lease_key}" if self.lease_key else text


class CoordinatorUnavailableError(QmtlError, ConnectionError):
    """The coordinator at `url`, or the etcd at `url` behind it, does not answer, or not as it should.

    What was asked of it may have been done all the same.
    """

    def __init__(self, what: str, *, url: str, **facts: Any) -> None:
        super().__init__(what, **facts)
        self.url = url


class StoreError(QmtlError):
    """The store cannot be used as requested. `path` is its directory."""

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


class StaleFenceError(StoreError):
    """A write came under a fencing token that is not the newest one of its shard; nothing of it was kept.

    `stale` are the tokens that were refused, by shard.
    """

    def __init__(self, what: str, *, stale: Mapping[int, int], **facts: Any) -> None:
        super().__init__(what, **facts)
        self.stale = dict(stale)
