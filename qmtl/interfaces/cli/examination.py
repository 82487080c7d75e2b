"""What the doctor looks at: each check says what was found, and the command that fixes it."""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import TYPE_CHECKING

from platformdirs import user_state_dir

from qmtl.foundation.certificates import trusted, trusted_context
from qmtl.foundation.clock import SystemClock
from qmtl.foundation.compiled import cache_folder
from qmtl.foundation.errors import InvalidRequestError, QmtlError
from qmtl.foundation.times import SECOND, iso
from qmtl.foundation.words import counted
from qmtl.interfaces.cli.check import Check
from qmtl.interfaces.cli.session import Session
from qmtl.interfaces.cli.store import size
from qmtl.interfaces.cli.vendor_checks import vendors

if TYPE_CHECKING:
    from qmtl.foundation.questdb_address import QuestDBAddress
    from qmtl.foundation.settings import Settings
    from qmtl.foundation.store_address import StoreAddress
    from qmtl.runtime.io.sql.upkeep import KeptStore
    from qmtl.runtime.io.sql.verify import Verification

# Extras that users need; the others are for the people who write this package.
EXTRAS = ("ccxt", "testing", "demo")
LITTLE_ROOM = 1 << 30
# Stores up to this size are read as a whole; a second or so.
QUICK = 256 << 20
_ON_A_PRIMARY = "name the primary server, and a user with the right to write"
# So many damaged ranges and problems are named.
_NAMED = 3
# A clock before this instant was never set (2024-01-01).
NEVER_SET = 1_704_067_200 * SECOND


def examine(session: Session, venues: Sequence[str]) -> Iterator[Check]:
    """All checks, in the order in which a fault would explain the later ones."""
    yield from installation()
    yield state_folder()
    yield certificates()
    yield cache()
    yield terminal()
    yield clock(SystemClock().now())
    try:
        settings = session.settings()
    except QmtlError as error:
        fix = error.next_step or f"correct {session.config or 'qmtl.yml'}"
        yield Check("settings", "fail", error.what + (f": {error.why}" if error.why else ""), fix)
        return
    yield Check("settings", "ok", _settings_file(session))
    yield from store(session, settings)
    yield from declared(settings)
    yield from registry(settings)
    yield from vendors(settings, venues)


def installation() -> Iterator[Check]:
    """Python, this package, what it needs, and its extras."""
    ok = sys.version_info >= (3, 11)
    yield Check(
        "python", "ok" if ok else "fail", sys.version.split()[0], "" if ok else "install 3.11 or newer"
    )
    try:
        needed = requires("qmtl") or []
        yield Check("qmtl", "ok", version("qmtl"))
    except PackageNotFoundError:
        yield Check("qmtl", "warn", "not installed as a package", "pip install qmtl")
        return
    missing = _missing(line for line in needed if "extra ==" not in line)
    if missing:
        yield Check("packages", "fail", f"missing: {', '.join(missing)}", "pip install --upgrade qmtl")
    for extra in EXTRAS:
        missing = _missing(line for line in needed if re.search(rf"extra == ['\"]{extra}['\"]", line))
        if missing:
            yield Check(
                f"extra {extra}", "warn", f"missing: {', '.join(missing)}", f"pip install 'qmtl[{extra}]'"
            )
        else:
            yield Check(f"extra {extra}", "ok", "installed")


def _missing(requirements: Iterator[str]) -> list[str]:
    names = [re.split(r"[\[<>=!~;\s]", line, maxsplit=1)[0] for line in requirements]
    return [name for name in names if not _is_installed(name)]


def _is_installed(name: str) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return False


def state_folder() -> Check:
    """Where the processes of this machine share their rate budgets."""
    folder = Path(user_state_dir("qmtl"))
    why = _unwritable(folder)
    return Check(
        "state folder",
        "warn" if why else "ok",
        f"{folder}: {why}; rate budgets are not shared between processes" if why else str(folder),
        f"mkdir -p {folder} && chmod u+rwx {folder}" if why else "",
    )


def cache() -> Check:
    """Where the sessions of exchanges are kept between processes."""
    folder = cache_folder()
    why = _unwritable(folder)
    return Check(
        "cache folder",
        "warn" if why else "ok",
        f"{folder}: {why}; the calendar of an exchange is built anew by each command" if why else str(folder),
        f"mkdir -p {folder} && chmod u+rwx {folder}" if why else "",
    )


def certificates() -> Check:
    """Which certificate authorities are trusted for the servers that are contacted."""
    try:
        known = len(trusted_context().get_ca_certs())
    except InvalidRequestError as error:
        return Check("certificates", "fail", f"{error.what}: {error.why}", error.next_step or "")
    # Those of a folder are looked up one by one, when they are needed.
    count = f", {known:,} of them" if known else ""
    return Check("certificates", "ok", f"{trusted()}{count}")


def _unwritable(folder: Path) -> str | None:
    """Why no file can be made in `folder` (or the nearest that exists above it); None if one can."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return f"{folder} cannot be written ({error.strerror})"


def terminal() -> Check:
    """Whether bars and colours can be drawn."""
    encoding = (sys.stdout.encoding or "").lower().replace("-", "")
    columns = shutil.get_terminal_size().columns
    kind = "a terminal" if sys.stdout.isatty() else "no terminal"
    if encoding != "utf8":
        return Check("terminal", "warn", f"{kind}, encoding {encoding}", "export PYTHONUTF8=1")
    return Check("terminal", "ok", f"{kind}, {columns} columns, UTF-8")


def clock(now: int) -> Check:
    """Whether the machine's clock was ever set."""
    if now < NEVER_SET:
        return Check("clock", "fail", f"it says {iso(now)}", "set the clock: timedatectl set-ntp true")
    return Check("clock", "ok", f"{iso(now // SECOND * SECOND)}")


def _settings_file(session: Session) -> str:
    path = session.config or Path("qmtl.yml")
    return str(path.resolve()) if path.exists() else "no qmtl.yml in this folder; the defaults hold"


def store(session: Session, settings: Settings) -> Iterator[Check]:
    """Whether the store can be read and written, has room, and is sound."""
    place = settings.seamless.store
    from qmtl.foundation.questdb_address import QuestDBAddress

    if isinstance(place, QuestDBAddress):
        yield from _in_questdb(session, place)
        return
    if not isinstance(place, Path):
        yield from _on_a_server(session, place)
        return
    path = place.expanduser()
    if not path.exists():
        why = _unwritable(path)
        if why:
            yield Check(
                "store", "fail", f"{path} is not there, and {why}", "qmtl --store DIR ... names another"
            )
        else:
            yield Check("store", "ok", f"{path} will be made by the first fetch or import")
        return
    try:
        with session.open_store() as opened:
            info = opened.info()
            yield Check(
                "store",
                "ok",
                f"{path}: format {info.format}, {info.series:,} series, {counted(info.rows, 'row')}",
            )
            if opened.read_only:
                yield Check("store", "warn", "it can be read, but not written", f"chmod -R u+rwX {path}")
            yield _room(path)
            now = SystemClock().now()
            if info.last_commit_at > now:
                yield Check(
                    "clock",
                    "warn",
                    f"the newest commit, {iso(info.last_commit_at)}, lies in the future",
                    "set the clock: timedatectl set-ntp true",
                )
            if info.bytes > QUICK:
                yield Check(
                    "store", "ok", f"{size(info.bytes)}, not read as a whole; 'qmtl store verify' does"
                )
            else:
                yield _sound(opened.verify())
            yield from _declared(opened)
    except QmtlError as error:
        yield Check("store", "fail", f"{path}: {error.what}", error.next_step or "qmtl store verify")


def _on_a_server(session: Session, address: StoreAddress) -> Iterator[Check]:
    """Whether the store of an address can be reached, read and written. It is not read as a whole."""
    from qmtl.interfaces.cli.server_checks import server_checks
    from qmtl.runtime.sdk.stores import is_store

    try:
        if not is_store(address):
            yield Check("store", "ok", f"{address} can be reached; the first fetch or import makes a store")
            return
        from qmtl.runtime.io.sql.postgres.store import PostgresStore  # it is installed

        with session.open_store() as opened:
            info = opened.info()
            yield Check(
                "store",
                "ok",
                f"{address}: format {info.format}, {info.series:,} series, {counted(info.rows, 'row')}",
            )
            assert isinstance(opened, PostgresStore)
            yield from server_checks(opened.server())
            known = opened.glance()
            if not known.is_sound:
                yield _sound(known)._replace(fix="qmtl store verify")
            if opened.read_only:
                yield Check("store", "warn", "it can be read, but not written", _ON_A_PRIMARY)
            yield from _declared(opened)
    except QmtlError as error:
        why = f"{error.what}: {error.why}" if error.why else error.what
        yield Check("store", "fail", f"{address}: {why}", error.next_step or "check the address")


def _in_questdb(session: Session, address: QuestDBAddress) -> Iterator[Check]:
    """Whether the store can be read and written, and what of its server is to be known."""
    from qmtl.interfaces.cli.questdb_checks import questdb_checks
    from qmtl.interfaces.cli.server_checks import server_checks
    from qmtl.runtime.sdk.stores import is_store

    try:
        if not is_store(address):
            yield Check("store", "ok", f"{address} has no catalog yet; the first fetch or import makes it")
            return
        from qmtl.runtime.io.questdb.store import QuestDBStore

        with session.open_store() as opened:
            assert isinstance(opened, QuestDBStore)
            info = opened.info()
            holds = f"{info.series:,} series, {counted(info.rows, 'row')}"
            yield Check("store", "ok", f"{address}: format {info.format}, {holds}")
            yield from questdb_checks(opened.questdb())
            where = address.place
            if not isinstance(where, Path):
                from qmtl.runtime.io.sql.postgres.store import PostgresStore  # it is installed

                assert isinstance(opened, PostgresStore)
                yield from server_checks(opened.server())
            known = opened.glance()
            if not known.is_sound:
                yield _sound(known)._replace(fix="qmtl store verify")
            if opened.read_only:
                cure = f"chmod -R u+rwX {where}" if isinstance(where, Path) else _ON_A_PRIMARY
                yield Check("store", "warn", "it can be read, but its catalog cannot be written", cure)
            if isinstance(where, Path):
                yield _room(where)
            yield from _declared(opened)
    except QmtlError as error:
        why = f"{error.what}: {error.why}" if error.why else error.what
        yield Check("store", "fail", f"{address}: {why}", error.next_step or "check the address")


def _declared(opened: KeptStore) -> Iterator[Check]:
    """Calendars that the store declares, and that cannot be used."""
    from qmtl.interfaces.cli.declarations import broken_in, cure, in_one_line

    for broken in broken_in(opened):
        yield Check(f"series {broken.series}", "fail", in_one_line(broken), cure(broken))


def declared(settings: Settings) -> Iterator[Check]:
    """Calendars that the settings declare, and that cannot be used."""
    from qmtl.foundation.calendars import calendar_named
    from qmtl.foundation.grid import Grid
    from qmtl.foundation.series import Timeframe
    from qmtl.runtime.sdk.declaring import ANY_DAY

    for number, entry in enumerate(settings.seamless.series):
        try:
            Grid(Timeframe.parse("1d"), calendar_named(entry.calendar)).try_calendar(ANY_DAY)
        except InvalidRequestError as error:
            place = settings.place("seamless", "series", number, "calendar")
            why = f"{error.what}; {error.why}" if error.why else error.what
            yield Check(
                f"series {entry.match}", "fail", f"{place}: {place.key!r}: {why}", error.next_step or ""
            )


def registry(settings: Settings) -> Iterator[Check]:
    """Whether the schema registry answers, if one is configured."""
    from qmtl.foundation.schema.registry.client import SchemaRegistryClient

    url = settings.connectors.schema_registry_url
    if url is None:
        return
    try:
        with closing(SchemaRegistryClient.from_settings(settings)) as free_bytes:
            found = free_bytes.subjects()
        yield Check("registry", "ok", f"{url} answers, with {counted(len(found), 'subject')}")
    except QmtlError as error:
        why = f"{error.what}: {error.why}" if error.why else error.what
        yield Check("registry", "fail", why, error.next_step or "see connectors.schema_registry_url")


def _room(path: Path) -> Check:
    free = shutil.disk_usage(path).free
    if free < LITTLE_ROOM:
        return Check(
            "disk", "warn", f"{size(free)} free beside the store", "free some space: qmtl store compact"
        )
    return Check("disk", "ok", f"{size(free)} free beside the store")


def _sound(found: Verification) -> Check:
    if found.is_sound:
        return Check("store", "ok", f"{counted(found.chunks, 'chunk')} read, all sound")
    return Check(
        "store",
        "fail",
        f"{counted(len(found.damage), 'damaged part')}, "
        f"{counted(len(found.problems), 'problem')} of the store, "
        f"{counted(len(found.lost), 'range')} lost to earlier damage: {_named(found)}",
        "qmtl store verify --repair" if found.damage or found.problems else "qmtl store verify",
    )


def _named(found: Verification) -> str:
    """The first of what is damaged or lost."""
    damaged = [f"{one.series} {one.span}" for one in found.damage]
    lost = [f"{one.series} {one.span}" for one in found.lost]
    named = [*dict.fromkeys(damaged + lost), *found.problems]
    more = f"; and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
    return f"{'; '.join(named[:_NAMED])}{more}"
