"""An address never becomes a folder, however and wherever it is given."""

from __future__ import annotations

from pathlib import Path

import pytest

import qmtl
from qmtl.foundation.errors import InvalidRequestError, SettingsError
from qmtl.foundation.local_paths import folder_path, local_path, web_address
from qmtl.foundation.settings import Settings
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.io.vendors.ccxt import CcxtVendor
from qmtl.runtime.io.vendors.files import FilesVendor
from qmtl.services.registry.sqlite import SqliteStorage

ADDRESSES = (
    "s3://bucket/bars",
    "kdb://host:9000",
    "mysql://me:secret@host/db",
    "file:///data",
    "gs:/b",
)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize(
    ("make", "kind"),
    [
        *(
            (make, kind)
            for make in (EmbeddedStore, qmtl.SeamlessDataProvider, SqliteStorage)
            for kind in (str, Path)
        ),
        (FilesVendor, str),
    ],
)
def test_python_refuses_what_is_not_served(here: Path, make: type, kind: type, address: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        make(kind(address))
    assert f"{address.partition(':')[0]}://" in str(refused.value)
    assert "is not served" in str(refused.value)
    assert "secret" not in str(refused.value)
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    "path", ["bars", "./bars", "/data/bars", "~/bars", "C:/bars", "a:b", "2024", "x/s3://y"]
)
def test_paths_are_paths(path: str) -> None:
    assert local_path(path, "a store") == Path(path)


def test_what_a_file_url_means_is_stated() -> None:
    with pytest.raises(InvalidRequestError) as refused:
        local_path("file:///data/bars", "a store")
    assert refused.value.next_step == "write the path itself, '/data/bars'"


@pytest.mark.parametrize("address", ADDRESSES)
def test_settings_and_variables_refuse_it_with_their_place(here: Path, address: str) -> None:
    (here / "qmtl.yml").write_text(f"seamless:\n  store: {address}\n")
    with pytest.raises(SettingsError, match=r"qmtl\.yml:2:3: 'seamless\.store': .* is not served"):
        Settings.load(env={})
    (here / "qmtl.yml").unlink()
    with pytest.raises(SettingsError, match=r"QMTL_SEAMLESS_STORE: 'seamless\.store': .* is not served"):
        Settings.load(env={"QMTL_SEAMLESS_STORE": address})
    assert list(here.iterdir()) == []


def test_an_entry_of_a_vendor_is_refused_with_its_place(here: Path) -> None:
    from qmtl.runtime.sdk.from_settings import vendor_at

    (here / "qmtl.yml").write_text(
        "seamless:\n  vendors:\n    - {match: 'a', kind: files, path: 's3://bucket/{symbol}.csv'}\n"
        "    - {match: 'b', kind: ccxt, exchange: binance, urls: 'ftp://proxy'}\n"
        "    - {match: 'c', kind: ccxt, exchange: binance, urls: {public: 'proxy:80'}}\n"
    )
    settings = Settings.load(env={})
    for number, words in enumerate(["s3://bucket", "ftp://proxy", "proxy:80"]):
        with pytest.raises(SettingsError) as refused:
            vendor_at(settings, number)
        column = (33, 51, 51)[number]
        assert f"qmtl.yml:{number + 3}:{column}: 'seamless.vendors[{number}]." in str(refused.value)
        assert words in str(refused.value)


@pytest.mark.parametrize("url", ["s3://bucket", "localhost:8080", "http://", "", "//host"])
def test_exchanges_are_asked_over_http_alone(url: str) -> None:
    with pytest.raises(InvalidRequestError, match="is not a URL of HTTP"):
        web_address(url)
    with pytest.raises(InvalidRequestError, match="is not a URL of HTTP"):
        CcxtVendor("binance", urls={"public": url})
    assert web_address("https://api.example.com/v1") == "https://api.example.com/v1"


@pytest.mark.parametrize("text", ["mem:", "file:x", "sqlite:bars", "", " ", "a\0b"])
@pytest.mark.parametrize("make", [EmbeddedStore, qmtl.SeamlessDataProvider, SqliteStorage])
def test_a_text_that_is_no_path_makes_no_folder(here: Path, make: type, text: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        make(text)
    assert "./" in str(refused.value.next_step)
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("text", ["./mem:", "C:bars", "a:b", "x/mem:"])
def test_a_folder_of_such_a_name_can_be_named(text: str) -> None:
    assert folder_path(text, "a store") == Path(text)
    assert folder_path(Path("mem:"), "a store") == Path("mem:")


@pytest.mark.parametrize("store", [7, None, [], object(), b"bars"])
def test_what_is_neither_a_path_nor_a_store_is_refused(here: Path, store: object) -> None:
    with pytest.raises(InvalidRequestError, match="not a folder or a store"):
        qmtl.SeamlessDataProvider(store=store)
    assert list(here.iterdir()) == []
