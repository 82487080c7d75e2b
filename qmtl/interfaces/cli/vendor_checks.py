"""Whether what a fetch would ask is there: vendors of the settings, or the exchanges that ccxt knows."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qmtl.foundation.errors import QmtlError
from qmtl.foundation.spelling import near
from qmtl.interfaces.cli.check import Check
from qmtl.interfaces.cli.connectivity import Answer, probe_all
from qmtl.interfaces.cli.wording import in_words_of

if TYPE_CHECKING:
    from qmtl.foundation.settings import CcxtSettings, FilesSettings, Settings
    from qmtl.foundation.vendor_settings import SnapshotSettings
    from qmtl.runtime.io.vendors.base import Vendor

# Large exchanges of three owners: where none of them answers, the network is at fault.
FIRST = ("binance", "coinbase", "kraken")


def vendors(settings: Settings, venues: Sequence[str]) -> Iterator[Check]:
    """Each vendor of the settings and each venue that was named; without both, what a fetch asks then."""
    found: dict[str, Check | str] = {}  # a check that needs no network, or the address to probe
    for number, entry in enumerate(settings.seamless.vendors):
        found[f"vendor {entry.match}"] = _configured(settings, number)
    for venue in venues:
        found[f"venue {venue}"] = _named(venue)
    if not found:
        yield from _default()
        return
    answers = probe_all(address for address in found.values() if isinstance(address, str))
    for subject, what in found.items():
        yield what._replace(subject=subject) if isinstance(what, Check) else _check_of(subject, answers[what])


def _check_of(subject: str, answer: Answer) -> Check:
    if answer.status is None:
        return Check(subject, "fail", str(answer), answer.cure)
    if answer.is_welcome:
        return Check(subject, "ok", str(answer))
    return Check(subject, "warn", str(answer), "see whether the exchange serves your country and network")


def _configured(settings: Settings, number: int) -> Check | str:
    from qmtl.runtime.sdk.from_settings import vendor_at

    entry = settings.seamless.vendors[number]
    try:
        made = vendor_at(settings, number)
        if entry.kind == "python":
            return Check("", "ok", f"{entry.object} can be imported and makes a vendor")
        if entry.kind == "polygon":
            return entry.url if _has_key() else _without_key()
        if entry.kind == "snapshot":
            return _snapshot(entry)
        if entry.kind == "questdb":
            return _table(made)
        return _files(entry) if entry.kind == "files" else _address(entry, settings, number)
    except QmtlError as error:
        what = f"{error.what}; {error.why}" if error.why else error.what
        fix = error.next_step or "correct qmtl.yml"
        return Check("", "fail", in_words_of((), what), in_words_of((), fix))


def _has_key() -> bool:
    from qmtl.runtime.io.vendors.polygon import KEY_VARIABLE

    return bool(os.environ.get(KEY_VARIABLE, "").strip())


def _without_key() -> Check:
    from qmtl.runtime.io.vendors.polygon import KEY_VARIABLE

    return Check("", "fail", f"the variable {KEY_VARIABLE} is not set", "set it to the key of your account")


def _address(entry: CcxtSettings, settings: Settings, number: int) -> str:
    """Where the requests of an entry go. Raises `SettingsError` for `urls` that cannot be used."""
    from qmtl.foundation.errors import InvalidRequestError, SettingsError
    from qmtl.runtime.io.vendors.ccxt_client import replaced

    if not entry.urls:
        return _home(entry.exchange)
    place = settings.place("seamless", "vendors", number, "urls")
    given = [entry.urls] if isinstance(entry.urls, str) else list(entry.urls.values())
    try:
        replaced(_exchange(entry.exchange).urls["api"], entry.urls)
    except InvalidRequestError as error:
        raise SettingsError(
            f"{place}: {place.key!r}: {error.what}", why=error.why, next_step=error.next_step
        ) from error
    return given[0]


def _named(venue: str) -> Check | str:
    from qmtl.runtime.io.vendors.installed_exchanges import ccxt_exchanges

    try:
        known = ccxt_exchanges()
    except QmtlError as error:
        return Check("", "fail", error.what, error.next_step or "")
    if venue in known:
        return _home(venue)
    alike = near(venue, known)
    return Check(
        "",
        "fail",
        "ccxt has no exchange of this name",
        f"did you mean {' or '.join(alike)}?" if alike else "qmtl import FILE, or name a vendor in qmtl.yml",
    )


def _default() -> Iterator[Check]:
    """No vendor is configured: ccxt answers for the venues that it knows, if it is installed."""
    from qmtl.runtime.io.vendors.installed_exchanges import ccxt_exchanges

    try:
        known = len(ccxt_exchanges())
    except QmtlError as error:
        yield Check("vendors", "warn", f"none in the settings, and {error.what}", error.next_step or "")
        return
    yield Check(
        "vendors",
        "ok",
        f"none in the settings: a fetch asks ccxt, which knows {known} exchanges; "
        "the venue of a series names one, as in ohlcv:binance:BTC/USDT:1h",
    )
    addresses = {venue: str(_named(venue)) for venue in FIRST}
    answers = probe_all(addresses.values())
    reached = [venue for venue, door in addresses.items() if answers[door].status is not None]
    if not reached:
        yield Check(
            "exchanges",
            "warn",
            f"none of {', '.join(addresses)} can be reached: {answers[addresses[FIRST[0]]].why}; "
            "what is stored and what is imported needs no network",
            "check the network; 'qmtl doctor VENUE' asks another exchange",
        )
        return
    for venue, door in addresses.items():
        check = _check_of(f"venue {venue}", answers[door])
        # Nobody asked for this one, so it is no failure.
        yield check._replace(outcome="warn") if check.outcome == "fail" else check


def _exchange(name: str) -> Any:
    import ccxt

    return getattr(ccxt, name)()


def _home(name: str) -> str:
    """The first of the addresses that ccxt has of an exchange."""
    exchange = _exchange(name)
    tree = exchange.urls["api"]
    while isinstance(tree, dict):
        tree = next(iter(tree.values()))
    return str(exchange.implode_hostname(tree))


def _files(entry: FilesSettings) -> Check:
    fixed = entry.path.partition("{")[0]
    folder = Path(fixed) if fixed.endswith("/") else Path(fixed).parent
    if folder.is_dir() and os.access(folder, os.R_OK):
        return Check("", "ok", f"files {entry.path}")
    return Check("", "fail", f"the folder {folder} is not there, or cannot be read", f"mkdir -p {folder}")


def _snapshot(entry: SnapshotSettings) -> Check:
    from qmtl.runtime.io.snapshots.addresses import place_named
    from qmtl.runtime.io.snapshots.numbering import read_manifest

    manifest = read_manifest(place_named(entry.path), entry.number)
    return Check("", "ok", f"snapshot {manifest.number} of {entry.path} has {len(manifest.series):,} series")


def _table(vendor: Vendor) -> Check:
    from qmtl.runtime.io.vendors.questdb import QuestDBVendor

    assert isinstance(vendor, QuestDBVendor)
    vendor.check()
    return Check("", "ok", f"{vendor.name} has the columns that the address names")
