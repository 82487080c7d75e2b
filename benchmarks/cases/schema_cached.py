"""Look up a schema that is known: by its id, and the latest version of a subject."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks import registries
from benchmarks.figures import Comparison, Figure
from benchmarks.services import served
from benchmarks.sizes import Sizes
from benchmarks.stopwatch import Times, take_turns
from qmtl.foundation.schema.registry.client import SchemaRegistryClient
from qmtl.foundation.schema.registry.remote import RemoteSchemaRegistryClient

_AT_ONCE = 1_000


def run(sizes: Sizes, folder: Path) -> list[Figure]:
    """Of the registry in this process, and of one behind HTTP that was asked before."""
    schema = registries.avro(sizes.fields)
    with served("registry", "--store", folder / "registry") as url:
        remote, local = RemoteSchemaRegistryClient(url, latest_s=3600), SchemaRegistryClient()
        for registry in (remote, local):
            if registry.register("bars", schema).id != 1:
                raise AssertionError("the registry is not empty")
        if remote.by_id(1) != local.by_id(1):
            raise AssertionError("both keep the same schema")
        remote.version("bars", "latest")
        known = {1: schema}
        times = take_turns(
            sizes.quick_rounds,
            {
                "floor": _often(lambda: known[1]),
                "local": _often(lambda: local.by_id(1)),
                "remote": _often(lambda: remote.by_id(1)),
                "latest": _often(lambda: remote.version("bars", "latest")),
            },
        )
        remote.close()
    each = {
        name: Times(tuple(seconds / _AT_ONCE for seconds in taken.seconds), taken.faults)
        for name, taken in times.items()
    }
    beside = Comparison("us", each["floor"], "look into a dict")
    return [
        beside.figure("by id, in this process", each["local"], goal=2.0),
        beside.figure("by id, of a remote registry", each["remote"], goal=2.0),
        beside.figure("latest version, of a remote registry", each["latest"], goal=2.0),
    ]


def _often(call: Callable[[], object]) -> Callable[[int], None]:
    def calls(_: int) -> None:
        for _ in range(_AT_ONCE):
            call()

    return calls
