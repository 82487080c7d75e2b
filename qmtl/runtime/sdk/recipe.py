"""How a task comes by a provider like the caller's, in whichever process it runs."""

from __future__ import annotations

import os
import pickle
import threading
import uuid
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qmtl.foundation.clock import SystemClock
from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.local_paths import names_questdb, names_server
from qmtl.foundation.observability.metrics import Unread
from qmtl.foundation.pickled import pickled
from qmtl.foundation.questdb_address import QuestDBAddress
from qmtl.foundation.server_addresses import ServerAddress
from qmtl.foundation.store_address import StoreAddress
from qmtl.runtime.io.store.contract import Store
from qmtl.runtime.sdk.stores import is_store, place_of
from qmtl.runtime.sdk.wiring import ProviderParts, provider_parts

# A provider that no task has used for so long is closed: an idle worker of an engine holds no connection.
_IDLE_S = 30.0


class Recipe:
    """Small, and picklable as far as the parts of the provider are.

    A task that runs in the process of the provider uses the provider itself; in any other process the first
    task makes one, and those that follow share it.
    """

    def __init__(self, token: str, options: dict[str, Any], place_id: str, machine: str) -> None:
        self.token = token
        self.options = options
        self._place_id = place_id
        self._machine = machine

    @classmethod
    def of(cls, parts: ProviderParts, made_of: Mapping[str, Any]) -> Recipe:
        """made_of: what the parts were made of, and `store`."""
        recipe = cls(uuid.uuid4().hex, _sendable(made_of, parts.store), parts.store.place_id, _machine())
        _HERE[recipe.token] = parts
        return recipe

    def __reduce__(self) -> tuple[Any, ...]:
        if self.options["store"] is None:
            raise InvalidRequestError(
                "the store that this provider was given cannot be opened by another process",
                why="it is in memory, or it is an open store on a server",
                next_step="make the provider with the folder or the address of its store, or use threads",
            )
        return pickled(Recipe, self.token, self.options, self._place_id, self._machine)

    @contextmanager
    def parts(self) -> Iterator[ProviderParts]:
        """The provider of this process. Raises what opening its store raises."""
        own = _HERE.get(self.token)
        if own is not None:  # in a fork as well: there it says that it cannot be used
            yield own
        else:
            with _OPEN.borrowed(self) as parts:
                yield parts

    def unsendable(self) -> InvalidRequestError | None:
        """Which part of the provider cannot be pickled, if one cannot."""
        for name, value in self.options.items():
            try:
                pickle.dumps(value)
            except Exception as error:  # noqa: BLE001 - whatever somebody's own vendor raises as it is pickled
                return InvalidRequestError(
                    f"`{name}=` of the provider cannot be sent to another process",
                    why=f"{type(error).__name__}: {error}",
                    next_step="let it be pickled, name it in qmtl.yml instead (kind: python), or use threads",
                )
        return None

    def made(self) -> ProviderParts:
        """A provider of its own; no store is made where there is none."""
        place = self.options["store"]
        where = place_of(place)
        if isinstance(where, QuestDBAddress):
            where = where.place
        if isinstance(where, Path) and _machine() != self._machine:
            raise _without_store(place, "it is a folder of another machine")
        if not is_store(place_of(place)):
            raise _without_store(place, "there is no store in that place")
        options = {name: value for name, value in self.options.items() if name != "store"}
        parts = provider_parts(place, live=None, progress=False, metrics_registry=Unread(), **options)
        if parts.store.place_id != self._place_id:
            parts.life.close()
            raise _without_store(place, "there is another one in that place")
        return parts


def _without_store(place: str | ServerAddress, why: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"a worker does not have the store of its caller, {place_of(place)}",
        why=why,
        next_step="use a store that all workers reach, such as postgresql://..., or workers on this machine",
    )


# -- what this process has open for tasks -------------------------------------------------------------------


@dataclass(eq=False)
class _Open:
    parts: ProviderParts
    users: int = 0
    idle: threading.Timer | None = None


class OpenProviders:
    """One provider per recipe, closed once no task has used it for a while. Safe from any thread."""

    def __init__(self, idle_s: float = _IDLE_S) -> None:
        self._idle_s = idle_s
        self._lock = threading.Lock()
        self._open: dict[tuple[int, str], _Open] = {}

    @contextmanager
    def borrowed(self, recipe: Recipe) -> Iterator[ProviderParts]:
        """A provider, which stays open at least as long as this context."""
        key = os.getpid(), recipe.token  # a fork has neither the threads of these, nor their connections
        with self._lock:
            known = self._open.get(key)
            if known is None:
                known = self._open[key] = _Open(recipe.made())
                known.parts.life.belong_to(known)
            if known.idle is not None:
                known.idle.cancel()
                known.idle = None
            known.users += 1
        try:
            yield known.parts
        finally:
            with self._lock:
                known.users -= 1
                if not known.users:
                    known.idle = threading.Timer(self._idle_s, self._close_idle, (key, known))
                    known.idle.daemon = True
                    known.idle.start()

    def _close_idle(self, key: tuple[int, str], known: _Open) -> None:
        with self._lock:
            if known.users or self._open.get(key) is not known:
                return
            del self._open[key]
        known.parts.life.close()


_OPEN = OpenProviders()
_HERE: weakref.WeakValueDictionary[str, ProviderParts] = weakref.WeakValueDictionary()


# -- what of a provider goes along --------------------------------------------------------------------------


def _sendable(made_of: Mapping[str, Any], store: Store) -> dict[str, Any]:
    """The parameters for a provider in another process, perhaps on another machine.

    What this one takes from its environment is said explicitly. Nothing that tasks do needs a live feed.
    """
    options = dict(made_of)
    for name in ("live", "progress", "metrics_registry"):
        del options[name]
    if isinstance(options["clock"], SystemClock):
        options["clock"] = None
    options["store"] = _place(options["store"], store)
    for name, variable in _VARIABLES.items():
        options[name] = options[name] or os.environ.get(variable) or None
    if options["coordinator"] is not None and not isinstance(options["coordinator"], str):
        options["coordinator"] = options["coordinator"].url
    return options


_VARIABLES = {
    "coordinator": "QMTL_SEAMLESS_COORDINATOR_URL",
    "coordinator_token": "QMTL_SEAMLESS_COORDINATOR_TOKEN",
    "default_validation_mode": "QMTL_SCHEMA_VALIDATION_MODE",
}


def _place(named: Any, store: Store) -> Any:
    """Where the store is, for another process; None for one that only this process can have."""
    if isinstance(named, StoreAddress) or (isinstance(named, str) and names_server(named)):
        return named
    if isinstance(named, str) and names_questdb(named):
        named = place_of(named)
    if isinstance(named, QuestDBAddress):  # its catalog may be a folder of this machine
        return named.within(Path.cwd())
    # What a store on a server says of its place lacks the password.
    if store.folder is None or names_server(store.location) or names_questdb(store.location):
        return None
    return os.path.abspath(store.location)


def _machine() -> str:
    """The same for all processes that share the memory of one kernel, containers included."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:  # another system than Linux
        import socket

        return socket.gethostname()
