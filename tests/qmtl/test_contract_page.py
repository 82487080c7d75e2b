"""Each sentence of the contract is linked to a test that is there, and the names in it exist in the code."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from qmtl.foundation.observability.catalog import CATALOG

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/en/architecture/seamless_data_provider_v2.md"
NOT_BUILT = "Not built yet"

_LINK = re.compile(r"\[[^\]]+\]\(\.\./\.\./\.\./(tests/[^)#]+)#([^)]+)\)")
_CODE = re.compile(r"`([^`]+)`")
_METRIC = re.compile(r"[a-z]+(_[a-z]+)+_(total|seconds|ratio)")
# Of events and loggers: words with a dot between them.
_EVENT = re.compile(r"[a-z]+\.[a-z_]+")


def sections() -> dict[str, str]:
    """The text of each section, by its heading."""
    _, *parts = re.split(r"^## (.*)\n", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


NORMATIVE = {head: text for head, text in sections().items() if head != NOT_BUILT}
SENTENCES = [
    " ".join(item.split())
    for text in NORMATIVE.values()
    for item in re.split(r"^- ", text, flags=re.MULTILINE)[1:]
]


def test_a_section_holds_sentences_and_nothing_else() -> None:
    assert len(SENTENCES) > 100
    for head, text in NORMATIVE.items():
        before, *_ = re.split(r"^- ", text, flags=re.MULTILINE)
        assert not before.strip(), head
        others = [line for line in text.splitlines() if line and not line.startswith(("- ", "  "))]
        assert not others, head


@pytest.mark.parametrize("sentence", SENTENCES, ids=lambda text: text[:40])
def test_a_sentence_is_one_and_has_its_link(sentence: str) -> None:
    assert _LINK.search(sentence), "no test is linked"
    text = _CODE.sub("", _LINK.sub("", sentence)).strip()
    assert re.findall(r"[.!?](?:\s|$)", text) == ["."], "one sentence, which ends with a full stop"
    assert "](" not in text, "a link that leads to no test"


def test_every_test_that_is_linked_is_collected() -> None:
    linked = {match.groups() for sentence in SENTENCES for match in _LINK.finditer(sentence)}
    files = sorted({file for file, _ in linked})
    assert [file for file in files if not (ROOT / file).is_file()] == []
    options = ["--collect-only", "-q", "-o", "addopts=", "-p", "no:cacheprovider", "-p", "no:xdist"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *files],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    collected = {
        tuple(line.split("[")[0].split("::", 1)) for line in done.stdout.splitlines() if "::" in line
    }
    assert sorted(linked - collected) == []


def test_metrics_that_are_named_are_those_that_there_are() -> None:
    named = {name for sentence in SENTENCES for name in _CODE.findall(sentence) if _METRIC.fullmatch(name)}
    assert named == {metric.name for metric in CATALOG}


def test_events_and_loggers_that_are_named_are_in_the_code() -> None:
    names = _CODE.findall(NORMATIVE["Observability names"])
    events = {name for name in names if _EVENT.fullmatch(name)}
    assert len(events) >= 9
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "qmtl").rglob("*.py"))
    for name in sorted(events):
        first, last = name.split(".")
        if first == "seamless":  # a logger
            assert f'"{{_NAMESPACE}}.{last}"' in code, name
        else:  # of some events the second word is that of the step which was stored
            assert f'"{name}"' in code or (f'f"{first}.{{' in code and f'"{last}"' in code), name


def test_what_is_not_built_is_not_there() -> None:
    modules = [name for name in _CODE.findall(sections()[NOT_BUILT]) if name.startswith("qmtl.")]
    assert len(modules) >= 4

    def is_there(name: str) -> bool:
        try:
            return importlib.util.find_spec(name) is not None
        except ModuleNotFoundError:
            return False

    assert [name for name in modules if is_there(name)] == []
