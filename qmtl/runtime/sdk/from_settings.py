"""What settings say, as the parameters of a provider and as vendors."""

from __future__ import annotations

import re
from functools import partial
from os import PathLike
from typing import Any

from qmtl.foundation.errors import InvalidRequestError, MissingDependencyError, SettingsError
from qmtl.foundation.settings import Settings
from qmtl.foundation.vendor_settings import SourceSettings
from qmtl.runtime.ingest.settlement import SettlementPolicy
from qmtl.runtime.io.vendors.base import Vendor
from qmtl.runtime.sdk.lazy_vendor import LazyVendor
from qmtl.runtime.sdk.schema_wiring import registry_from_settings


def provider_options(settings: Settings | str | PathLike[str] | None) -> dict[str, Any]:
    """The parameters of `SeamlessDataProvider` that settings name; a path or None is loaded first.

    A vendor is made when it is first asked: what is wrong with its entry is an error of what needs that
    vendor, and of nothing else.
    """
    if not isinstance(settings, Settings):
        settings = Settings.load(settings)
    seamless = settings.seamless
    vendors = {
        one.match: LazyVendor(vendor_name(one), partial(vendor_at, settings, number))
        for number, one in enumerate(seamless.vendors)
    }
    return {
        "store": seamless.store,
        "vendors": vendors or None,
        "sla": seamless.sla,
        "cache_bytes": seamless.cache_bytes,
        "partial_ok": seamless.partial_ok,
        "declared": [(one.match, one.facts) for one in seamless.series],
        "rules": SettlementPolicy(settle=seamless.settle, absent_expiry=seamless.absent_expiry),
        "retention": seamless.retention,
        "max_staleness": seamless.max_staleness,
        "coordinator": seamless.coordinator_url,
        "coordinator_token": None
        if seamless.coordinator_token is None
        else seamless.coordinator_token.get_secret_value(),
        "schemas": registry_from_settings(settings),
        "default_validation_mode": settings.schemas.validation_mode,
    }


def vendor_at(settings: Settings, number: int) -> Vendor:
    """The vendor of an entry. Raises `SettingsError` and `MissingDependencyError` that name the place."""
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
_MAIN_KEY = {
    "ccxt": "exchange",
    "files": "path",
    "polygon": "url",
    "python": "object",
    "questdb": "url",
    "snapshot": "path",
}


def vendor_name(settings: SourceSettings) -> str:
    """What the vendor of an entry calls itself, before it is made."""
    if settings.kind == "polygon":
        return settings.kind
    if settings.kind == "questdb":
        from qmtl.foundation.questdb_table_address import QuestDBTableAddress

        try:
            return QuestDBTableAddress.parse(settings.url).shown
        except InvalidRequestError:
            return (
                settings.kind
            )  # what is wrong is told once it is made; where its password ends, nobody knows
    if settings.kind == "snapshot" and settings.number is not None:
        return f"snapshot:{settings.path}#{settings.number}"
    return f"{settings.kind}:{getattr(settings, _MAIN_KEY[settings.kind])}"


def vendor(settings: SourceSettings) -> Vendor:
    """The vendor that an entry of `seamless.vendors`, or a preset, describes."""
    if settings.kind == "ccxt":
        from qmtl.runtime.io.vendors.ccxt import CcxtVendor

        return CcxtVendor(settings.exchange, urls=settings.urls or None)
    if settings.kind == "polygon":
        from qmtl.runtime.io.vendors.polygon import PolygonVendor

        return PolygonVendor(url=settings.url, per_minute=settings.per_minute)
    if settings.kind == "python":
        from qmtl.runtime.io.vendors.python_object import vendor_of_object

        return vendor_of_object(settings.object, settings.options, settings.folder)
    if settings.kind == "questdb":
        from qmtl.runtime.io.vendors.questdb import QuestDBVendor

        return QuestDBVendor(settings.url, holes=settings.holes)
    if settings.kind == "snapshot":
        from qmtl.runtime.io.vendors.snapshot import SnapshotVendor

        return SnapshotVendor(settings.path, number=settings.number)
    from qmtl.runtime.io.vendors.files import FilesVendor

    return FilesVendor(settings.path, **settings.reading)
