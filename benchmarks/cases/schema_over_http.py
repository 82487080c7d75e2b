"""Look up a schema by its id over HTTP on loopback."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import registries
from benchmarks.figures import Comparison, Figure
from benchmarks.services import served
from benchmarks.sizes import Sizes
from benchmarks.stopwatch import Times, take_turns
from qmtl.foundation.schema.registry.remote import RemoteSchemaRegistryClient

_CONNECTIONS = 8
_PATH = "/schemas/ids/1"
_LOAD = [sys.executable, "-m", "benchmarks.http_load"]


def run(sizes: Sizes, folder: Path) -> list[Figure]:
    """A schema of 20 fields. One request at a time from a process with bare sockets; then a load of eight."""
    schema = registries.avro(min(20, sizes.fields))
    with served("registry", "--store", folder / "registry") as url, _least(len(schema.text)) as floor_url:
        registry = RemoteSchemaRegistryClient(url)
        registry.register("bars", schema)

        def ask(_: int) -> None:
            registry._by_id.clear()
            registry.by_id(1)

        client = take_turns(sizes.quick_rounds, {"client": ask}, warm_up=min(20, sizes.quick_rounds))
        registry.close()
        _, one = _load(url, _PATH, sizes.seconds / 2, 1)
        _, floor = _load(floor_url, _PATH, sizes.seconds / 2, 1)
        _, health = _load(url, "/healthz", sizes.seconds / 2, 1)
        rate, many = _load(url, _PATH, sizes.seconds, _CONNECTIONS)
        floor_rate, _ = _load(floor_url, _PATH, sizes.seconds, _CONNECTIONS)
        health_rate, _ = _load(url, "/healthz", sizes.seconds, _CONNECTIONS)
    beside = Comparison("ms", floor, "bare asyncio, the same bytes")
    per_second = "requests/s"
    return [
        beside.figure("p50, bare sockets", one, goal=1.5),
        beside.figure("p99, bare sockets", one, percent=99),
        beside.figure("p50 of /healthz, bare sockets", health),
        beside.figure("p50, RemoteSchemaRegistryClient without its memory", client["client"], goal=1.5),
        beside.figure("p50 under a load of eight connections", many),
        Figure(
            "rate, eight connections",
            rate,
            per_second,
            goal=2_000,
            floor=floor_rate,
            floor_is=beside.floor_is,
            more_is_better=True,
        ),
        Figure(
            "rate of /healthz, eight connections",
            health_rate,
            per_second,
            floor=floor_rate,
            floor_is=beside.floor_is,
            more_is_better=True,
        ),
    ]


@contextmanager
def _least(size: int) -> Iterator[str]:
    """The address of a minimal server."""
    command = [*_LOAD, "--serve", str(size)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def _load(url: str, path: str, seconds: float, connections: int) -> tuple[float, Times]:
    command = [*_LOAD, url, path, str(seconds), str(connections)]
    output = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    return output["rate"], Times(tuple(output["seconds"]), (0,) * len(output["seconds"]))
