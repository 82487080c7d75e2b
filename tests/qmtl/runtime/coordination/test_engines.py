"""The texts that name an engine, those that nearly do, and what is missing for one."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

import qmtl
from qmtl.runtime.coordination.engine_runs import tasks_at_once
from qmtl.runtime.coordination.engines import FORMS, engine_on
from tests.qmtl.ports import free_port


@pytest.mark.parametrize(
    ("text", "what", "form"),
    [
        ("process:2", "'process:2' names no engine", "processes:2"),
        ("procesess", "names no engine", "processes:2"),
        ("processes:many", "names no engine", "processes:2"),
        ("processes:-1", "names no engine", "processes:2"),
        ("processes:0", "no number of processes from 1", "processes:"),
        ("processes:100000", "no number of processes from 1", "processes:"),
        ("dask:host:8786", "names no engine", "dask://HOST:8786"),
        ("dask://host", "names no engine", "dask://HOST:8786"),
        ("dask://host:99999", "names no engine", "dask://HOST:8786"),
        ("DASK://host:8786", "names no engine", "dask://HOST:8786"),
        ("rays://host:1", "names no engine", "ray://HOST:10001"),
        ("tcp://host:1", "names no engine", ", ".join(list(FORMS.values())[:2])),
        ("", "names no engine", "ray://HOST:10001"),
        ("dask://user:secret@host:1", "names no engine", "dask://HOST:8786"),
    ],
)
def test_what_names_no_engine_is_refused_with_the_nearest_form(text: str, what: str, form: str) -> None:
    with pytest.raises(qmtl.InvalidRequestError) as refused, engine_on(text):
        pass
    assert what in refused.value.what
    assert form in str(refused.value.next_step)


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("distributed", "ray"):
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.parametrize(("text", "extra"), [("dask://here:1", "dask"), ("ray://here:1", "ray")])
def test_a_missing_library_says_what_installs_it(without: None, text: str, extra: str) -> None:
    with pytest.raises(qmtl.MissingDependencyError) as missing, engine_on(text):
        pass
    assert f"pip install 'qmtl[{extra}]'" in str(missing.value)


def test_nobody_at_an_address_is_said_with_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr("qmtl.runtime.coordination.engines._CONNECT_S", 0.2)
    text = f"dask://127.0.0.1:{free_port()}"
    with (
        pytest.raises(qmtl.SourceUnavailableError, match="nobody answers at dask://127") as failed,
        engine_on(text),
    ):
        pass
    assert failed.value.source == text


def test_a_ray_cluster_is_joined_and_left(monkeypatch: pytest.MonkeyPatch) -> None:
    class Context:
        left = False

        def __enter__(self) -> Context:
            return self

        def __exit__(self, *_: object) -> None:
            self.left = True

    context, joined = Context(), []

    def init(**options: Any) -> Context:
        joined.append(options["address"])
        if "gone" in options["address"]:
            raise ConnectionError("ray client connection timeout\nand more")
        return context

    remote = lambda **_: lambda fn: SimpleNamespace(remote=fn)  # noqa: E731 - stands for a decorator
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(init=init, remote=remote))
    with engine_on("ray://here:10001") as executor:
        assert isinstance(executor, qmtl.RayExecutor)
        assert not context.left
    assert context.left
    with pytest.raises(qmtl.SourceUnavailableError, match=r"timeout\n"), engine_on("ray://gone:1"):
        pass
    assert joined == ["ray://here:10001", "ray://gone:1"]


@pytest.mark.process
def test_processes_end_with_the_context_and_at_once_with_an_error() -> None:
    with engine_on("processes:2") as executor:
        assert isinstance(executor, ProcessPoolExecutor)
        assert tasks_at_once(executor) == 4
        assert executor.submit(sum, (1, 2)).result() == 3
    with pytest.raises(RuntimeError):
        executor.submit(sum, (1, 2))
    program = (
        "from qmtl.runtime.coordination.engines import engine_on\n"
        "import time\n"
        "if __name__ == '__main__':\n"
        "    with engine_on('processes:1') as executor:\n"
        "        executor.submit(abs, 1).result()\n"
        "        executor.submit(time.sleep, 600)\n"
        "        raise KeyboardInterrupt\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60, check=False)
    assert ended.returncode == -2 or ended.returncode == 130
