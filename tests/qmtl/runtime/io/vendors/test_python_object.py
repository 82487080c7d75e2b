"""A vendor of one's own, named in the settings: found, made, or refused with the reason."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from qmtl.foundation.errors import InvalidRequestError, SourceUnavailableError
from qmtl.runtime.io.vendors.python_object import vendor_of_object

MODULE = """
class Vendor:
    def __init__(self, region="us"):
        self.name = f"mine in {region}"
    async def pages(self, series, span):
        return
        yield

def make(region, *, depth=1):
    return Vendor(f"{region} {depth}")

def fails(): raise RuntimeError("the licence has run out")
def nothing(): return None
async def late(): return Vendor()
def needs():
    from qmtl.foundation.errors import SourceUnavailableError
    raise SourceUnavailableError("the terminal is logged off", source="mine")

ready = Vendor("place")
number = 7

class Room:
    make = staticmethod(make)
"""

_names = (f"desk_{number}" for number in itertools.count())


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module that can be imported."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    name = next(_names)
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    return name


@pytest.mark.parametrize(
    ("attribute", "options", "name"),
    [
        ("Vendor", {}, "mine in us"),
        ("Vendor", {"region": "eu"}, "mine in eu"),
        ("make", {"region": "eu", "depth": 3}, "mine in eu 3"),
        ("ready", {}, "mine in place"),
        ("Room.make", {"region": "x"}, "mine in x 1"),
    ],
)
def test_a_class_a_function_or_a_vendor_will_do(
    desk: str, attribute: str, options: dict[str, object], name: str
) -> None:
    assert vendor_of_object(f"{desk}:{attribute}", options).name == name  # type: ignore[attr-defined]  # its own


@pytest.mark.parametrize(
    ("attribute", "options", "facts"),
    [
        ("make", {}, ["`options=` do not fit", "region", "it takes (region"]),
        ("make", {"region": "eu", "dept": 2}, ["`options=` do not fit", "dept"]),
        ("ready", {"region": "eu"}, ["`options=` cannot be used", "is a vendor already"]),
        ("fails", {}, ["calling", "RuntimeError: the licence has run out", ".py, line"]),
        ("nothing", {}, ["gives no vendor", "type NoneType", "pages(series, span)"]),
        ("late", {}, ["is a coroutine function", "`def`"]),
        ("number", {}, ["an object of type int", "pages(series, span)"]),
        ("mak", {}, ["has no 'mak'", "did you mean make?"]),
        ("Room.mak", {}, ["the class Room has no 'mak'", "did you mean make?"]),
        ("make()", {}, ["is no import path"]),
        ("", {}, ["is no import path"]),
    ],
)
def test_what_gives_no_vendor_is_refused_with_the_reason(
    desk: str, attribute: str, options: dict[str, object], facts: list[str]
) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        vendor_of_object(f"{desk}:{attribute}", options)
    for fact in facts:
        assert fact in str(refused.value)


def test_an_error_of_this_package_passes_as_it_is(desk: str) -> None:
    with pytest.raises(SourceUnavailableError, match="the terminal is logged off"):
        vendor_of_object(f"{desk}:needs", {})


@pytest.mark.parametrize("name", ["no_such_module:x", "no_such_package.vendors:x", "os.no_such:x"])
def test_a_module_that_is_not_there(name: str, tmp_path: Path) -> None:
    with pytest.raises(
        InvalidRequestError, match=r"there is no module (no_such_module|no_such_package|os)"
    ) as refused:
        vendor_of_object(name, {}, tmp_path)
    assert str(tmp_path) in str(refused.value)


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("import no_such_library", "ModuleNotFoundError: No module named 'no_such_library'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("def broken(:", "SyntaxError"),
    ],
)
def test_a_module_that_fails_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, fact: str
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    name = next(_names)
    (tmp_path / f"{name}.py").write_text(f"\n{text}\n")
    with pytest.raises(InvalidRequestError, match="importing") as refused:
        vendor_of_object(f"{name}:x", {}, tmp_path)
    assert fact in str(refused.value)


def test_the_folder_of_the_settings_is_searched_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file beside the settings never takes the place of an installed package."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    name = next(_names)
    (tmp_path / f"{name}.py").write_text(MODULE)
    (tmp_path / "colorsys.py").write_text("raise RuntimeError('not the one that was meant')")
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    before = list(sys.path)
    for _ in range(2):
        assert vendor_of_object(f"{name}:Vendor", {}, tmp_path).name == "mine in us"  # type: ignore[attr-defined]  # its own
    assert sys.path == [*before, str(tmp_path)]
    with pytest.raises(InvalidRequestError, match="has no 'Vendor'"):
        vendor_of_object("colorsys:Vendor", {}, tmp_path)


# -- entry points


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`installed(package, entry="module:name")`: what pip leaves of a package that announces vendors."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.syspath_prepend(tmp_path)

    def install(package: str, **entries: str) -> None:
        folder = tmp_path / f"{package}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = "\n".join(f"{name} = {value}" for name, value in entries.items())
        (folder / "entry_points.txt").write_text(f"[qmtl.vendors]\n{lines}\n")

    return install


def test_an_entry_point_is_found_by_its_name(desk: str, installed: Callable[..., None]) -> None:
    installed("acme", archive=f"{desk}:make", place=f"{desk}:ready")
    assert vendor_of_object("archive", {"region": "eu"}).name == "mine in eu 1"  # type: ignore[attr-defined]  # its own
    assert vendor_of_object("place", {}).name == "mine in place"  # type: ignore[attr-defined]  # its own


def test_an_unknown_entry_point_names_those_that_there_are(installed: Callable[..., None]) -> None:
    with pytest.raises(InvalidRequestError, match="no installed package has any"):
        vendor_of_object("archive", {})
    installed("acme", archive="acme:make")
    with pytest.raises(InvalidRequestError, match="did you mean archive"):
        vendor_of_object("archiv", {})


def test_a_name_of_two_packages_is_refused(installed: Callable[..., None]) -> None:
    installed("acme", archive="acme:make")
    installed("umbrella", archive="umbrella:make")
    with pytest.raises(InvalidRequestError) as refused:
        vendor_of_object("archive", {})
    for fact in ("2 packages", "acme has acme:make", "umbrella has umbrella:make", "import path"):
        assert fact in str(refused.value)


def test_an_entry_point_that_fails_says_why(installed: Callable[..., None]) -> None:
    installed("acme", archive="no_such_module_of_acme:make")
    with pytest.raises(InvalidRequestError, match="no_such_module_of_acme"):
        vendor_of_object("archive", {})
