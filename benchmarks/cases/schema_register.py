"""Register a schema over HTTP, durable."""

from __future__ import annotations

from pathlib import Path

from benchmarks import registries, scene
from benchmarks.figures import Comparison, Figure
from benchmarks.services import served
from benchmarks.sizes import Sizes
from benchmarks.stopwatch import calls_of, take_turns
from qmtl.foundation.schema.registry.client import SchemaRegistryClient
from qmtl.foundation.schema.registry.remote import RemoteSchemaRegistryClient
from qmtl.services.registry.sqlite import SqliteStorage


def run(sizes: Sizes, folder: Path) -> list[Figure]:
    """Schemas of 20 fields: of new subjects, and as next versions, each compared with the one before."""
    rounds, warm_up = sizes.quick_rounds, min(20, sizes.quick_rounds)
    calls = calls_of(rounds, warm_up=warm_up)
    fields = min(20, sizes.fields)
    first = [registries.avro(fields, name=f"First{number}") for number in range(calls)]
    # Some fields come and others go, so that no schema grows with its number.
    texts = [
        registries.avro(fields, more=1 + number % 20).text.replace("more_", f"more_{number}_")
        for number in range(calls)
    ]
    storage = SqliteStorage(folder / "in-process")
    with served("registry", "--store", folder / "served") as url, (folder / "bare").open("wb") as bare:
        remote, local = RemoteSchemaRegistryClient(url), SchemaRegistryClient(storage)

        def write_and_sync(number: int) -> None:
            bare.write(first[number].text.encode())
            bare.flush()
            scene.sync(bare.fileno())

        times = take_turns(
            rounds,
            {
                "floor": write_and_sync,
                "subjects": lambda number: remote.register(f"subject-{number}", first[number]),
                "versions": lambda number: remote.register("versions", texts[number]),
                "again": lambda number: remote.register("versions", texts[number]),
                "local": lambda number: local.register(f"subject-{number}", first[number]),
            },
            warm_up=warm_up,
        )
        if remote.versions("versions") != tuple(range(1, calls + 1)):
            raise AssertionError("not every schema has become a version")
        remote.close()
    local.close()
    beside = Comparison("ms", times["floor"], "bare write of the text + fdatasync")
    return [
        beside.figure("p50, new subjects", times["subjects"], goal=5.0),
        beside.figure("p99, new subjects", times["subjects"], percent=99),
        beside.figure("p50, next versions", times["versions"], goal=5.0),
        beside.figure("p50, what is registered already", times["again"]),
        beside.figure("p50, new subjects, into the same file without HTTP", times["local"]),
    ]
