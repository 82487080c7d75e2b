"""Several clients at once."""

from __future__ import annotations

import threading
from collections.abc import Callable

from qmtl.foundation.schema.registry.contract import Registered, SchemaRegistry
from qmtl.runtime.testing.registry_suites.schemas import OPEN, bar


class AtOnceSuite:
    """Inherit it, and give a fixture `registry` that is a client of an empty registry."""

    def test_one_schema_at_once_is_one_version(self, registry: SchemaRegistry) -> None:
        done = at_once([lambda: registry.register("a", bar(OPEN)) for _ in range(8)])
        assert set(done) == {registry.version("a", 1)}
        assert registry.versions("a") == (1,)

    def test_different_schemas_at_once_leave_no_gap(self, registry: SchemaRegistry) -> None:
        registry.set_level("NONE")
        texts = [bar(OPEN, name=f"Bar{number}") for number in range(8)]
        done = at_once([lambda text=text: registry.register("a", text) for text in texts])  # type: ignore[misc]  # bound early
        assert sorted(one.version for one in done) == list(range(1, 9))
        assert sorted(one.id for one in done) == list(range(1, 9))
        for text, one in zip(texts, done, strict=True):
            assert registry.version("a", one.version) == one == registry.lookup("a", text)


def at_once(calls: list[Callable[[], Registered]]) -> list[Registered]:
    """Each call in a thread of its own, let go together; their answers."""
    gate = threading.Barrier(len(calls))
    done: dict[int, Registered] = {}
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            gate.wait()
            done[number] = calls[number]()
        except BaseException as failure:  # noqa: BLE001  # handed to the thread that judges
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive(), "a registration hangs"
    assert not failures, failures
    return [done[number] for number in range(len(calls))]
