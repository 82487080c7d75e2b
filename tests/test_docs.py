"""The documentation does what it says: every block of every page is run, in order, and the site builds.

How a fenced block is treated depends on its tag:

- `python` is executed; the blocks of a page share one namespace. `output` right after it is what it printed.
- `bash` is run, and must succeed. `make TARGET` is not run; the target must exist.
- `console` is run command by command (`$ ...`), and what is shown below each must be part of what it wrote.
  A command that fails must be followed by `$ echo $?`.
- any tag with `title="NAME"` is a file: it is written, not run.
- `text` is for people only. Any other tag is a mistake.

`<!-- setup: TAG ... -->` is a block that readers do not see. Shown output is compared loosely: its lines must
appear in this order, `...` stands for anything, spaces count once, and durations, fingerprints, sizes and
commit times only have to look alike.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import pytest

ROOT = Path(__file__).parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))

_BLOCK = re.compile(
    r"^(?P<indent>[ ]*)```(?P<info>[^\n`]*)\n(?P<body>.*?)^(?P=indent)```[ ]*$"
    r"|^<!-- setup:(?P<hidden_info>[^\n]*)\n(?P<hidden>.*?)^-->[ ]*$",
    re.MULTILINE | re.DOTALL,
)
_TITLE = re.compile(r'title="([^"]+)"')
_MAKE = re.compile(r"make (\w+)\b.*")
_MARK = "\x1e"

# What differs from one run to the next, and the form that it must have.
_FORMS = (
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z(?: \(\d{19}\))?",  # a commit time; times of bars have no fraction
    r"blake3:[0-9a-f]{16,}",
    r"\b[0-9a-f]{16}\b",
    r"\d[\d,.]* (?:ms|KiB|MiB|GiB|B)(?!\w)",
)
_FORM = re.compile("|".join(f"({form})" for form in _FORMS))


@dataclass(frozen=True)
class Block:
    """One fenced or hidden block of a page; `line` is where its first line stands."""

    tag: str
    title: str | None
    body: str
    line: int


def blocks(text: str) -> Iterator[Block]:
    """All blocks of a page, in order."""
    for found in _BLOCK.finditer(text):
        hidden = found["hidden"] is not None
        info = (found["hidden_info"] if hidden else found["info"]).strip()
        title = _TITLE.search(info)
        tag = info.split()[0] if info else ""
        start = found.start("hidden" if hidden else "body")
        body = textwrap.dedent(found["hidden"] if hidden else found["body"])
        yield Block(tag, title and title[1], body, text.count("\n", 0, start) + 1)


class Reader:
    """Somebody who does what a page says, in a folder of its own."""

    def __init__(self, page: Path, folder: Path) -> None:
        self.page = page
        self.folder = folder
        self.shell_folder = folder  # a `cd` holds for the blocks that follow
        self.names: dict[str, Any] = {"__name__": "__main__"}
        self.renamed: list[Any] = []  # what a name stood for before it was given to something else
        self.printed: str | None = None

    def follow(self, block: Block) -> None:
        printed, self.printed = self.printed, None
        if block.title is not None:
            target = self.folder / block.title
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(block.body, encoding="utf-8")
            return
        match block.tag:
            case "python":
                self.printed = self.run_python(block)
            case "output":
                assert printed is not None, f"{self.place(block)}: no python block stands before this output"
                self.compare(block, block.body, printed)
            case "bash":
                self.run_shell(block, [(line, "") for line in commands(block.body)])
            case "console":
                self.run_shell(block, list(conversation(block.body)))
            case "text":
                pass
            case _:
                pytest.fail(
                    f"{self.place(block)}: blocks tagged {block.tag!r} are not tested; see {__file__}"
                )

    def run_python(self, block: Block) -> str:
        # Empty lines before the code make tracebacks name the line of the page.
        code = compile("\n" * (block.line - 1) + block.body, str(self.page), "exec")
        before = dict(self.names)
        try:
            with contextlib.redirect_stdout(io.StringIO()) as stdout:
                exec(code, self.names)
        finally:
            self.renamed += [value for name, value in before.items() if self.names.get(name) is not value]
        return stdout.getvalue()

    def run_shell(self, block: Block, reported: list[tuple[str, str]]) -> None:
        reported = [(command, shown) for command, shown in reported if not self.is_target(block, command)]
        script = "".join(f'{command}\n__mark "$?"\n' for command, _ in reported) + 'printf %s "$PWD"'
        done = subprocess.run(
            ["bash", "-c", f"__mark() {{ printf '{_MARK}%s{_MARK}' \"$1\"; return $1; }}\n{script}"],
            cwd=self.shell_folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            check=False,
        )
        parts = done.stdout.split(_MARK)
        outputs, codes = parts[0:-1:2], parts[1::2]
        assert len(codes) == len(reported), f"{self.place(block)}: the shell ended early\n{done.stdout}"
        self.shell_folder = Path(parts[-1])
        for number, (command, shown) in enumerate(reported):
            asked_for_code = number + 1 < len(reported) and reported[number + 1][0] == "echo $?"
            assert codes[number] == "0" or asked_for_code, (
                f"{self.place(block)}: {command}\nended with {codes[number]}:\n{outputs[number]}"
            )
            self.compare(block, shown, outputs[number])

    def is_target(self, block: Block, command: str) -> bool:
        """Whether a command is `make TARGET`; such a target must exist."""
        target = _MAKE.fullmatch(command)
        if target is None:
            return False
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        assert re.search(rf"^{target[1]}:", makefile, re.MULTILINE), (
            f"{self.place(block)}: no target {command}"
        )
        return True

    def compare(self, block: Block, shown: str, written: str) -> None:
        """Every shown line is part of what was written, in this order."""
        lines = iter(line for line in written.splitlines() if line.strip())
        for want in filter(str.strip, shown.splitlines()):
            pattern = like(want)
            assert want.strip() == "..." or any(
                pattern.fullmatch(" ".join(line.split())) for line in lines
            ), (
                f"{self.place(block)}: this line is shown, but was not written (or not here):\n{want}\n\n"
                f"written was:\n{written}"
            )

    def place(self, block: Block) -> str:
        return f"{self.page.relative_to(ROOT)}:{block.line}"

    def close(self) -> None:
        for value in reversed([*self.renamed, *self.names.values()]):
            if not isinstance(value, type | ModuleType) and callable(
                closing := getattr(value, "close", None)
            ):
                closing()


def follow(page: Path, text: str, folder: Path) -> None:
    """Do what a page says, and tidy up."""
    reader = Reader(page, folder)
    try:
        for block in blocks(text):
            reader.follow(block)
    finally:
        reader.close()


def like(line: str) -> re.Pattern[str]:
    """A pattern for lines that look like this one."""
    parts = []
    for part in " ".join(line.split()).split("..."):
        place, message = 0, ""
        for found in _FORM.finditer(part):
            message += re.escape(part[place : found.start()]) + f"(?:{_FORMS[(found.lastindex or 1) - 1]})"
            place = found.end()
        parts.append(message + re.escape(part[place:]))
    return re.compile(".*".join(parts))


def commands(body: str) -> Iterator[str]:
    """The commands of a script: lines, joined where they end with a backslash; no comments."""
    for line in re.sub(r"\\\n\s*", "", body).splitlines():
        command = re.sub(r"\s+# .*", "", line).strip()
        if command and not command.startswith("#"):
            yield command


def conversation(body: str) -> Iterator[tuple[str, str]]:
    """Each command after `$ `, and what is shown below it."""
    for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
        first, _, shown = re.sub(r"\\\n\s*", "", part).partition("\n")
        yield first.strip(), shown


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder with a home, an environment and a terminal of its own, as a checkout has them."""
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    for name in [name for name in os.environ if name.startswith(("QMTL_", "XDG_"))]:
        monkeypatch.delenv(name)
    (work / ".venv").symlink_to(sys.prefix)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PATH", f"{Path(sys.prefix) / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("PYTHONUTF8", "1")
    monkeypatch.chdir(work)
    monkeypatch.syspath_prepend(str(work))
    known = set(sys.modules)
    with patch.dict(os.environ):  # what a page changes is put back
        yield work
    for name in set(sys.modules) - known:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(work)):
            del sys.modules[name]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_does_what_it_says(page: Path, folder: Path) -> None:
    follow(page, page.read_text(encoding="utf-8"), folder)


def test_a_roll_out_leaves_the_files_of_a_checkout_as_they_were(folder: Path) -> None:
    for name in ("schemas", "scripts"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    page = ROOT / "docs/en/operations/schema_registry_governance.md"
    follow(page, page.read_text(encoding="utf-8"), folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("shown", "written", "same"),
    [
        ("time   2.9 ms", "time 1,113.4 ms", True),
        ("time   2.9 ms", "time 2 bars", False),
        ("bars present 15", "bars present 16", False),
        ("bars ... closed 15", "bars present 15, closed 15", True),
        ("as of 2026-01-01T00:00:00.5Z (1234567890123456789)", "as of 2025-02-02T01:02:03.25Z (1111111111111111111)", True),  # noqa: E501 - one case a line
        ("range [2001-09-01, 2001-10-01)", "range [2001-09-02, 2001-10-01)", False),
    ],
)  # fmt: skip
def test_shown_output_is_compared_loosely_but_compared(shown: str, written: str, same: bool) -> None:
    assert bool(like(shown).fullmatch(written)) is same


@pytest.mark.parametrize(
    "text",
    [
        "```console\n$ echo yes\nno\n```\n",
        "```console\n$ printf 'a\\nb\\n'\nb\na\n```\n",
        "```console\n$ false\n```\n",
        "```console\n$ false\n$ echo $?\n0\n```\n",
        "```bash\nfalse\n```\n",
        "```bash\nmake nothing_of_the_kind\n```\n",
        "```python\nprint(1)\n```\n\n```output\n2\n```\n",
        "```python\nprint(1)\n```\n\n```bash\ntrue\n```\n\n```output\n1\n```\n",
        "```sql\nselect 1\n```\n",
        "```\nno tag\n```\n",
        "<!-- setup: python\nassert False\n-->\n",
    ],
)
def test_a_page_that_lies_is_found(text: str, folder: Path) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        follow(ROOT / "page.md", text, folder)


def test_a_page_that_is_right_is_right(folder: Path) -> None:
    text = """
```python title="a/b.py"
print(3)
```

```console
$ python a/b.py  # a comment
3
$ false
$ echo $?
1
$ cd a
```

```bash
test -f b.py
```

```python
x = 4
print("one", x)
```

```output
one ...
```
"""
    follow(ROOT / "page.md", text, folder)


def test_what_the_readme_links_to_is_there() -> None:
    links = re.findall(r"\]\(([^)#]+)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []


def test_the_readme_leads_to_what_stands_in_for_the_site_where_it_is_not_built() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (paragraph,) = [text for text in readme.split("\n\n") if text.startswith("`make docs` builds")]
    links = re.findall(r"\]\(([^)#]+)", paragraph)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_libraries_of_the_decisions_are_those_in_use() -> None:
    page = (ROOT / "docs/en/architecture/decisions.md").read_text(encoding="utf-8")
    listed = re.sub(r"\([^)]*\)", "", page.partition("## Libraries")[2].partition("By hand")[0])
    names = set(re.findall(r"[a-z][a-z0-9_]+", re.sub(r"\bAs extras\b|\band\b", "", listed)))
    imported = re.compile(r"^\s*(?:import|from) (\w+)", re.MULTILINE)
    used = {
        name for path in (ROOT / "qmtl").rglob("*.py") for name in imported.findall(path.read_text("utf-8"))
    }
    assert {"polars", "fastapi"} <= names <= used


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    if importlib.util.find_spec("mkdocs") is None:
        if os.environ.get("QMTL_TEST_REQUIRE", "") in ("all", "docs"):
            pytest.fail("mkdocs is not installed: pip install 'qmtl[docs]'")
        pytest.skip("mkdocs is not installed: pip install 'qmtl[docs]'")
    site = tmp_path / "site"
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # Readers without a network see all of it.
    for page in site.rglob("*.html"):
        fetched = re.findall(
            r'<(?:script|img|link)[^>]+(?:src|href)="(https?://[^"]+)"', page.read_text("utf-8")
        )
        assert not [address for address in fetched if "canonical" not in address], f"{page}: {fetched}"


def test_every_public_name_is_in_the_reference() -> None:
    import qmtl

    # The page of errors is made from the error tree when the site is built.
    errors = {name for name in qmtl.__all__ if name.endswith("Error") or name == "SeamlessSLAExceeded"}
    reference = (ROOT / "docs/en/reference/python.md").read_text(encoding="utf-8")
    reported = set(re.findall(r"^::: qmtl\.(\w+)$", reference, re.MULTILINE))
    assert set(qmtl.__all__) - reported - errors == {"__version__"}


def test_the_links_of_readme_lead_somewhere() -> None:
    """Links of the other pages are looked at by the strict build."""
    for link in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", (ROOT / "README.md").read_text(encoding="utf-8")):
        assert "://" in link or (ROOT / link).exists(), link


def test_the_pictures_are_what_the_script_makes(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "make_pictures.py"), str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    checked_in = sorted((ROOT / "docs/en/pictures").iterdir())
    assert [picture.name for picture in checked_in] == sorted(made.name for made in tmp_path.iterdir())
    for picture in checked_in:
        made = (tmp_path / picture.name).read_text(encoding="utf-8")
        assert made == picture.read_text(encoding="utf-8"), f"run docs/make_pictures.py: {picture.name}"
