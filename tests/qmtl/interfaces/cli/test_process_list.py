"""A password on the command line is not in the list of processes."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from qmtl.interfaces.cli.process_list import without_password


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("postgresql://me:hush@db/bars?schema=desk", "postgresql://me:...@db/bars?schema=desk"),
        ("postgresql://me:hu%40sh@db/bars", "postgresql://me:...@db/bars"),
        ("--store=postgresql://me:hush@db/bars", "--store=postgresql://me:...@db/bars"),
        ("postgresql://me@db/bars?password=hush&schema=x", "postgresql://me@db/bars?password=...&schema=x"),
        ("postgresql://me@db/bars", "postgresql://me@db/bars"),
        ("postgresql://me:hu[sh@db/bars", "postgresql://..."),
        ("--url=https://me:hush@registry/", "--url=https://..."),
        ("https://registry/", "https://registry/"),
        ("ohlcv:mine:GOLD:1d", "ohlcv:mine:GOLD:1d"),
        ("a@b", "a@b"),
    ],
)
def test_what_is_shown_of_a_word(word: str, shown: str) -> None:
    assert without_password(word) == shown


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="this system shows processes in another way")
@pytest.mark.parametrize("option", [("--store", "{}"), ("--store={}",)], ids=["two words", "one word"])
def test_a_command_that_runs_does_not_show_it(tmp_path: Path, option: tuple[str, ...]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"postgresql://me:hush%40x@127.0.0.1:{silent.getsockname()[1]}/bars?schema=desk"
        words = [word.format(address) for word in option]
        process = subprocess.Popen(
            [Path(sys.executable).with_name("qmtl"), *words, "store", "info"],
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            silent.settimeout(120)
            server, _ = silent.accept()  # from here on it waits for an answer
            with server:
                shown = Path(f"/proc/{process.pid}/cmdline").read_text()
                assert "hush" not in shown
                assert "me:...@127.0.0.1" in shown
                assert "store\0info" in shown, "the words behind it are still there"
                threads = Path(f"/proc/{process.pid}/task").iterdir()
                assert not any("hush" in (thread / "cmdline").read_text() for thread in threads)
        finally:
            process.kill()
            process.wait(30)
