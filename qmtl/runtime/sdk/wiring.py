"""The single place that turns settings into a provider."""

from __future__ import annotations

import re
from functools import partial
from os import PathLike

from qmtl.foundation.clock import SystemClock
from qmtl.foundation.errors import InvalidRequestError, MissingDependencyError, SettingsError
from qmtl.foundation.schema.client import SchemaRegistryClient
from qmtl.foundation.schema.governance import GovernanceRecords, ValidationMode
from qmtl.foundation.schema.governance_rows import RegistryRecords
from qmtl.foundation.schema.memory import MemoryStorage
from qmtl.foundation.settings import Settings, VendorSettings
from qmtl.runtime.coordination.backfill import Rules
from qmtl.runtime.io.vendors.base import Vendor
from qmtl.runtime.sdk.deferred import Deferred
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.sdk.schemas import Schemas, records_of


def provider_from_settings(
    settings: Settings | str | PathLike[str] | None = None, *, progress: bool = True
) -> SeamlessDataProvider:
    """A provider as the settings say; a path or None is loaded first.

    A vendor is made when it is first asked: what is wrong with its entry is told by what needs that vendor.
    """
    if not isinstance(settings, Settings):
        settings = Settings.load(settings)
    seamless, url = settings.seamless, settings.connectors.schema_registry_url
    vendors = {
        one.match: Deferred(vendor_name(one), partial(vendor_at, settings, number))
        for number, one in enumerate(seamless.vendors)
    }
    return SeamlessDataProvider(
        seamless.store,
        vendors=vendors or None,
        sla=seamless.sla,
        cache_bytes=seamless.cache_bytes,
        partial_ok=seamless.partial_ok,
        declared=[(one.match, one.facts) for one in seamless.series],
        rules=Rules(settle=seamless.settle, absent_expiry=seamless.absent_expiry),
        retention=seamless.retention,
        schemas=None if url is None else SchemaRegistryClient.from_settings(settings),
        default_validation_mode=settings.schemas.validation_mode,
        progress=progress,
    )


def schemas_from_settings(settings: Settings, store: GovernanceRecords | None) -> Schemas:
    """What rows are held to, as the settings say. store: where records are; None if it is not there yet."""
    registry = None
    if settings.connectors.schema_registry_url is not None:
        registry = SchemaRegistryClient.from_settings(settings)
    return Schemas(
        registry,
        records_of(registry, store or RegistryRecords(MemoryStorage())),
        mode=None,
        default=ValidationMode(settings.schemas.validation_mode),
        clock=SystemClock(),
    )


def vendor_at(settings: Settings, number: int) -> Vendor:
    """The vendor of an entry. Raises `SettingsError` and `MissingDependencyError` that tell the place."""
    entry = settings.seamless.vendors[number]
    try:
        return vendor(entry)
    except MissingDependencyError as error:
        error.why = f"{settings.place('seamless', 'vendors', number)} names a vendor that needs it"
        raise
    except InvalidRequestError as error:
        option = re.match(r"`(\w+)=` ", error.what)
        key = option[1] if option else _MAIN_KEY[entry.kind]
        place = settings.place("seamless", "vendors", number, key)
        raise SettingsError(
            f"{place}: {place.key!r}: {error.what}",
            why=error.why,
            next_step=error.next_step,
        ) from error


# What says the most about an entry of each kind.
_MAIN_KEY = {"ccxt": "exchange", "files": "path", "python": "object"}


def vendor_name(settings: VendorSettings) -> str:
    """What the vendor of an entry calls itself, told before it is made."""
    return f"{settings.kind}:{getattr(settings, _MAIN_KEY[settings.kind])}"


def vendor(settings: VendorSettings) -> Vendor:
    """The vendor that an entry of `seamless.vendors` describes."""
    if settings.kind == "ccxt":
        from qmtl.runtime.io.vendors.ccxt import CcxtVendor

        return CcxtVendor(settings.exchange, urls=settings.urls or None)
    if settings.kind == "python":
        from qmtl.runtime.io.vendors.python_object import vendor_of_object

        return vendor_of_object(settings.object, settings.options, settings.folder)
    from qmtl.runtime.io.vendors.files import FilesVendor

    return FilesVendor(settings.path, **settings.reading)
