"""The single place that turns settings into a provider."""

from __future__ import annotations

from os import PathLike

from qmtl.foundation.schema.client import SchemaRegistryClient
from qmtl.foundation.settings import Settings, VendorSettings
from qmtl.runtime.coordination.backfill import Rules
from qmtl.runtime.io.vendors.base import Vendor
from qmtl.runtime.sdk.provider import SeamlessDataProvider


def provider_from_settings(settings: Settings | str | PathLike[str] | None = None) -> SeamlessDataProvider:
    """A provider as the settings say; a path or None is loaded first."""
    if not isinstance(settings, Settings):
        settings = Settings.load(settings)
    seamless, url = settings.seamless, settings.connectors.schema_registry_url
    vendors = {one.match: vendor(one) for one in seamless.vendors}
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
    )


def vendor(settings: VendorSettings) -> Vendor:
    """The vendor that an entry of `seamless.vendors` describes."""
    if settings.kind == "ccxt":
        from qmtl.runtime.io.vendors.ccxt import CcxtVendor

        return CcxtVendor(settings.exchange, urls=settings.urls or None)
    from qmtl.runtime.io.vendors.files import FilesVendor

    return FilesVendor(settings.path, **settings.reading)
