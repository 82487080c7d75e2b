"""Turns settings into what checks rows against schemas, without the provider: an import needs none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qmtl.foundation.clock import SystemClock
from qmtl.foundation.schema.governance.decisions import GovernanceRecords, ValidationMode
from qmtl.runtime.sdk.schema_enforcer import SchemaEnforcer, records_of

if TYPE_CHECKING:
    from qmtl.foundation.schema.registry.contract import SchemaRegistry
    from qmtl.foundation.settings import Settings


def schemas_from_settings(settings: Settings, store: GovernanceRecords | None) -> SchemaEnforcer:
    """What checks rows, as the settings say. store: where records are; None if it is not there yet."""
    from qmtl.foundation.schema.registry.memory_storage import MemoryStorage
    from qmtl.foundation.schema.registry.records import RegistryRecords

    registry = registry_from_settings(settings)
    return SchemaEnforcer(
        registry,
        records_of(registry, store or RegistryRecords(MemoryStorage())),
        mode=None,
        default=ValidationMode(settings.schemas.validation_mode),
        clock=SystemClock(),
    )


def registry_from_settings(settings: Settings) -> SchemaRegistry | None:
    """The registry of schemas that the settings name, if they name one."""
    if settings.connectors.schema_registry_url is None:
        return None
    from qmtl.foundation.schema.registry.client import SchemaRegistryClient

    return SchemaRegistryClient.from_settings(settings)
