"""What a process gives up, it gives up for good, or it is refused with the reason."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from qmtl.runtime.sdk.isolation import sandbox

PROGRAM = """
import sys, threading
from qmtl.runtime.sdk.isolation.sandbox import restrict
assert not [name for name in sys.modules if name.startswith(("polars", "numpy"))]
{before}
restrict([{seen!r}, "/nowhere/at/all"], [{listed!r}])
{after}
"""


def run(before: str, after: str, folder: Path) -> subprocess.CompletedProcess[str]:
    code = PROGRAM.format(before=before, after=after, seen=str(folder / "seen"), listed=str(folder))
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "seen").write_text("seen")
    (tmp_path / "hidden").write_text("hidden")
    return tmp_path


def test_some_files_are_read_and_names_are_listed(folder: Path) -> None:
    done = run(
        "import os",
        f"print(open({str(folder / 'seen')!r}).read(), sorted(os.listdir({str(folder)!r})))",
        folder,
    )
    assert done.stdout == "seen ['hidden', 'seen']\n", done.stderr
    done = run("", f"open({str(folder / 'hidden')!r})", folder)
    assert "PermissionError" in done.stderr


def test_it_holds_for_good(folder: Path) -> None:
    more = f"restrict(['/'], ['/'])\nopen({str(folder / 'hidden')!r})"
    done = run("import os\nlist_before = os.listdir\nos.listdir = lambda path: ['1']", more, folder)
    assert "PermissionError" in done.stderr


def test_a_process_with_threads_is_refused(folder: Path) -> None:
    wait = "import time\nthreading.Thread(target=time.sleep, args=(5,), daemon=True).start()"
    done = run(wait, "print('free')", folder)
    assert "OSError: there are other threads" in done.stderr
    assert done.stdout == ""


def test_a_system_that_cannot_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sandbox.why_not() is None
    with monkeypatch.context() as patch:
        patch.setattr(sandbox, "_call", lambda *_: -1)
        assert "has no Landlock" in (sandbox.why_not() or "")
    with monkeypatch.context() as patch:
        patch.setattr(platform, "machine", lambda: "riscv64")
        assert "not riscv64" in (sandbox.why_not() or "")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert sandbox.why_not() == "it takes Linux, and this is darwin"
