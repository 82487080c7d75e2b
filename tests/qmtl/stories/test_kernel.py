"""A real notebook kernel: what a cell shows while it waits, and what it shows of answers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from jupyter_client.manager import KernelManager

SERIES = "ohlcv:test:BTC/USDT:1m"
WITHIN_S = 60.0

START = """
import qmtl
from qmtl.runtime.testing.vendors import ScriptedVendor
DAY = ("2024-01-01", "2024-01-02")

def provider(name, page_rows=None, delay=0.0, **options):
    vendor = ScriptedVendor(page_rows=page_rows, delay=delay)
    return qmtl.SeamlessDataProvider(name, vendors=vendor, **options)
"""
ANSWERS = f"""
SERIES = '{SERIES}'
sdp = provider('shown')
first = sdp.fetch(SERIES, '2024-01-01', '2024-01-01T01:00Z').receipt.as_of
answer = sdp.fetch(SERIES, *DAY)
"""


class Cell(NamedTuple):
    """What the kernel published while it ran one cell."""

    displayed: list[dict[str, Any]]
    updated: list[dict[str, Any]]
    result: dict[str, str]
    streams: dict[str, str]


class Notebook:
    """A kernel in a process of its own, and one client."""

    def __init__(self, folder: Path) -> None:
        self.manager = KernelManager(kernel_name="python3")
        self.manager.start_kernel(cwd=str(folder))
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=WITHIN_S)

    def run(self, code: str) -> Cell:
        asked = self.client.execute(code, allow_stdin=False)
        cell = Cell([], [], {}, {})
        while True:
            message = self.client.get_iopub_msg(timeout=WITHIN_S)
            content = message["content"]
            assert message["parent_header"]["msg_id"] == asked, (
                "it would be shown in another cell, or nowhere"
            )
            match message["msg_type"]:
                case "display_data":
                    cell.displayed.append(content)
                case "update_display_data":
                    cell.updated.append(content)
                case "execute_result":
                    cell.result.update(content["data"])
                case "stream":
                    before = cell.streams.get(content["name"], "")
                    cell.streams[content["name"]] = before + content["text"]
                case "error":
                    raise AssertionError("\n".join(content["traceback"]))
                case "status" if content["execution_state"] == "idle":
                    return cell

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self.manager.cleanup_resources()


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notebook]:
    folder = tmp_path_factory.mktemp("notebook")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR"):
            patch.setenv(name, str(folder / name))
        made = Notebook(folder)
    try:
        made.run(START)
        made.run(ANSWERS)
        yield made
    finally:
        made.close()


def amounts(contents: list[dict[str, Any]]) -> list[int]:
    """How many bars each bar of progress says are there."""
    pages = [content["data"]["text/html"] for content in contents]
    return [
        int(found[1]) for page in pages if (found := re.search(r"<progress value='(\d+)' max='1440'>", page))
    ]


@pytest.mark.parametrize("verb", ["fetch", "backfill", "fetch_many", "refresh"])
def test_a_cell_that_waits_shows_one_bar_of_html_that_is_gone_at_the_end(
    notebook: Notebook, verb: str
) -> None:
    notebook.run(f"slow = provider('slow-{verb}', page_rows=240, delay=0.5)")
    if verb == "refresh":
        notebook.run(f"slow.fetch('{SERIES}', *DAY, progress=False)")
    series = [SERIES] if verb == "fetch_many" else SERIES
    cell = notebook.run(f"slow.{verb}({series!r}, *DAY); slow.close()")
    (shown,) = cell.displayed
    assert shown["transient"]["display_id"]
    assert "<progress" in shown["data"]["text/html"]
    assert SERIES in shown["data"]["text/html"]
    assert {update["transient"]["display_id"] for update in cell.updated} == {
        shown["transient"]["display_id"]
    }
    grown = amounts([shown, *cell.updated])
    assert grown == sorted(grown)
    assert len(set(grown)) >= 2, "it moves"
    assert grown[0] >= 240, "nothing is shown in the first second"
    assert cell.updated[-1]["data"]["text/html"] == "", "it is gone"
    assert cell.streams == {}, "and nothing is printed, on stderr or elsewhere"


@pytest.mark.parametrize(
    "code",
    [
        f"provider('off', page_rows=240, delay=0.5).fetch('{SERIES}', *DAY, progress=False);",
        f"provider('off too', page_rows=240, delay=0.5, progress=False).fetch('{SERIES}', *DAY);",
        f"provider('quick').fetch('{SERIES}', *DAY);",
    ],
    ids=["progress=False", "of the provider", "a quick fetch"],
)
def test_a_cell_that_wants_none_or_does_not_wait_shows_nothing(notebook: Notebook, code: str) -> None:
    cell = notebook.run(code)
    assert (cell.displayed, cell.updated, cell.streams) == ([], [], {})


@pytest.mark.parametrize(
    ("expression", "shown"),
    [
        ("sdp", "ScriptedVendor"),
        ("answer", "present"),
        ("answer.receipt", "fingerprint"),
        ("answer.coverage", "present"),
        ("answer.coverage.present", "2024-01-01"),
        ("answer.report", "passes"),
        ("sdp.fetch_many([SERIES, 'ohlcv:test:B:1m'], *DAY)", "ohlcv:test:B:1m"),
        ("sdp.backfill([SERIES, 'ohlcv:test:B:1m'], *DAY)", "ohlcv:test:B:1m"),
        ("sdp.diff(SERIES, first, answer.receipt.as_of)", "added"),
        ("sdp.commits(SERIES)", "committed_at"),
    ],
)
def test_what_a_cell_ends_with_is_shown_as_html_and_as_text(
    notebook: Notebook, expression: str, shown: str
) -> None:
    cell = notebook.run(expression)
    assert "<table" in cell.result["text/html"]
    assert shown in cell.result["text/html"]
    assert "<script" not in cell.result["text/html"]
    assert len(cell.result["text/plain"].splitlines()) < 60
    assert cell.streams == {}
