"""Settings say what they mean, and every slip is told with file, line, key and what was probably meant."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from qmtl.foundation.errors import SettingsError
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.settings import CcxtSettings, FilesSettings, Settings, SettingsWarning
from qmtl.foundation.sla import SLAPolicy

EXAMPLE = """\
seamless:
  store: bars
  cache_bytes: 64MiB
  partial_ok: true
  sla: {backfill_wait: 60s, total: 90s, sync_gap: 10000, on_breach: partial}
  settle: 2m
  absent_expiry: 1h
  retention: 30d
  max_staleness: 1s
  series:
    - {match: "ohlcv:mine:AAPL:*", calendar: XNYS, anchor: session}
  vendors:
    - {match: "ohlcv:binance:*", kind: ccxt, exchange: binance, urls: {public: "http://127.0.0.1:8080"}}
    - match: "ohlcv:mine:*"
      kind: files
      path: "data/{symbol}-{timeframe}.csv"
      tz: America/New_York
      columns: {ts: date}
      scale: {open: 0.0001}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(folder: Path, text: str, name: str = "qmtl.yml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_are_what_validation_gives_and_build_nothing_that_checks_values(tmp_path: Path) -> None:
    """To build what checks values takes longer than all else that a command does with settings."""
    program = (
        "from qmtl.foundation.settings import Settings, SeamlessSettings\n"
        "settings = Settings.load(env={})\n"
        "print(Settings.__pydantic_complete__, SeamlessSettings.__pydantic_complete__)\n"
        "checked = Settings.model_validate({})\n"
        "print(settings == checked, settings.model_dump() == checked.model_dump())\n"
        "print(Settings.load(env={'QMTL_SEAMLESS_SETTLE': '2m'}).seamless.settle)\n"
        "print(Settings.__pydantic_complete__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert done.stdout.splitlines() == ["False False", "True True", "120.0", "True"]


def test_nothing_set_is_all_defaults(folder: Path) -> None:
    seamless = Settings.load(env={}).seamless
    assert seamless.store.name == "qmtl"
    assert seamless.store.is_absolute()
    assert (seamless.cache_bytes, seamless.partial_ok, seamless.sla) == (256 * 2**20, False, None)
    assert (seamless.settle, seamless.absent_expiry, seamless.retention) == (60.0, 86_400.0, None)
    assert seamless.max_staleness == 0.0
    assert (seamless.series, seamless.vendors) == ((), ())


def test_services_and_schemas(folder: Path) -> None:
    nothing = Settings.load(env={})
    assert (nothing.connectors.schema_registry_url, nothing.schemas.validation_mode) == (None, "canary")
    path = written(
        folder,
        "connectors:\n  schema_registry_url: https://registry.example:8443/a\n"
        "schema: {validation_mode: strict}\n",
    )
    reported = Settings.load(path, {})
    assert reported.connectors.schema_registry_url == "https://registry.example:8443/a"
    assert reported.schemas.validation_mode == "strict"
    with pytest.warns(SettingsWarning, match="did you mean QMTL_SCHEMA_REGISTRY_URL?"):
        Settings.load(path, {"QMTL_CONNECTORS_SCHEMA_REGISTRY_URL": "http://127.0.0.1:1"})
    env = {"QMTL_SCHEMA_REGISTRY_URL": "http://127.0.0.1:1", "QMTL_SCHEMA_VALIDATION_MODE": "canary"}
    reported = Settings.load(path, env)
    assert reported.connectors.schema_registry_url == "http://127.0.0.1:1"
    assert reported.schemas.validation_mode == "canary"


def test_every_key_of_a_file(folder: Path) -> None:
    seamless = Settings.load(written(folder, EXAMPLE), {}).seamless
    assert seamless.store == folder / "bars"
    assert (seamless.cache_bytes, seamless.partial_ok) == (64 * 2**20, True)
    assert seamless.sla == SLAPolicy(backfill_wait=60, total=90, sync_gap=10_000, on_breach="partial")
    assert (seamless.settle, seamless.absent_expiry, seamless.retention) == (120.0, 3600.0, 30 * 86_400.0)
    assert seamless.max_staleness == 1.0
    (declared,) = seamless.series
    assert declared.match == "ohlcv:mine:AAPL:*"
    assert declared.facts == SeriesFacts(calendar="XNYS", anchor="session")
    ccxt, files = seamless.vendors
    assert isinstance(ccxt, CcxtSettings)
    assert (ccxt.exchange, ccxt.urls) == ("binance", {"public": "http://127.0.0.1:8080"})
    assert isinstance(files, FilesSettings)
    assert files.path == str(folder / "data/{symbol}-{timeframe}.csv")
    assert files.reading == {
        "tz": "America/New_York",
        "columns": {"ts": "date"},
        "scale": {"open": 0.0001},
    }


def test_a_file_of_this_folder_is_found(folder: Path) -> None:
    written(folder, "seamless: {cache_bytes: 1}")
    assert Settings.load(env={}).seamless.cache_bytes == 1
    assert Settings.load(written(folder, "", "other.yml"), {}).seamless.cache_bytes == 256 * 2**20


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "seamless:\n", "seamless:\n  # store: x\n", "\ufeffseamless: {}"]
)
def test_empty_files_are_no_slip(folder: Path, text: str) -> None:
    empty = Settings.load(written(folder, "", "b.yml"), {})
    assert Settings.load(written(folder, text), {}).seamless == empty.seamless


def test_variables_override_the_file(folder: Path) -> None:
    path = written(folder, EXAMPLE)
    env = {
        "QMTL_SEAMLESS_STORE": "elsewhere",
        "QMTL_SEAMLESS_CACHE_BYTES": "1 GB",
        "QMTL_SEAMLESS_PARTIAL_OK": "false",
        "QMTL_SEAMLESS_SLA": "{total: 5s}",
        "QMTL_SEAMLESS_VENDORS": "[]",
        "HOME": "/nowhere",
    }
    seamless = Settings.load(path, env).seamless
    assert seamless.store == Path("elsewhere"), "a variable's path starts where the process runs"
    assert (seamless.cache_bytes, seamless.partial_ok) == (10**9, False)
    assert seamless.sla == SLAPolicy(total=5)
    assert seamless.vendors == ()
    assert seamless.settle == 120.0, "what no variable says stays as the file says"


def test_home_is_expanded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder / "me"))
    assert (
        Settings.load(written(folder, "seamless: {store: ~/bars}"), {}).seamless.store == folder / "me/bars"
    )
    assert Settings.load(env={"QMTL_SEAMLESS_STORE": "~/x"}).seamless.store == folder / "me/x"


def test_a_folder_named_as_a_number(folder: Path) -> None:
    assert Settings.load(env={"QMTL_SEAMLESS_STORE": "2024"}).seamless.store == Path("2024")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "seamless:\n  stroe: x\n",
            ["qmtl.yml:2:", "'seamless.stroe' is not known", "did you mean 'store'?"],
        ),
        ("semless:\n  store: x\n", ["qmtl.yml:1:", "'semless' is not known", "did you mean 'seamless'?"]),
        ("seamless:\n  zzz: 1\n", ["qmtl.yml:2:", "known here are store, cache_bytes"]),
        ("\n\nseamless:\n  settle: soon\n", ["qmtl.yml:4:", "seamless.settle", "'soon' is not a duration"]),
        ("seamless:\n  cache_bytes: lots\n", ["qmtl.yml:2:", "seamless.cache_bytes", "256MiB"]),
        ("seamless:\n  cache_bytes: -1\n", ["qmtl.yml:2:", "seamless.cache_bytes", "greater than or equal"]),
        ("seamless:\n  partial_ok: perhaps\n", ["qmtl.yml:2:", "seamless.partial_ok", "boolean"]),
        (
            "seamless:\n  sla:\n    totl: 3s\n",
            ["qmtl.yml:2:", "'totl' is not a key", "did you mean 'total'?"],
        ),
        ("seamless:\n  sla: 3\n", ["qmtl.yml:2:", "seamless.sla"]),
        ("seamless:\n  store: [a]\n", ["qmtl.yml:2:", "seamless.store"]),
        (
            "seamless:\n  series:\n    - match: a\n    - match: b\n      calender: XNYS\n",
            ["qmtl.yml:5:", "'seamless.series[1].calender'", "did you mean 'calendar'?"],
        ),
        ("seamless:\n  series:\n    - calendar: FX\n", ["qmtl.yml:3:", "'seamless.series[0]' needs 'match'"]),
        (
            "seamless:\n  series:\n    - {match: a, anchor: moon}\n",
            ["qmtl.yml:3:", "seamless.series[0].anchor", "'clock' or 'session'"],
        ),
        (
            "seamless:\n  vendors:\n    - {match: a, kind: ccxt, exchange: b, url: c}\n",
            ["qmtl.yml:3:", "seamless.vendors[0].url", "did you mean 'urls'?"],
        ),
        (
            "seamless:\n  vendors:\n    - {match: a, kind: files, path: b, xyzzy: c}\n",
            ["qmtl.yml:3:", "seamless.vendors[0].xyzzy", "known here are match, kind, path"],
        ),
        ("seamless:\n  vendors:\n    - {match: a, kind: ccxt}\n", ["qmtl.yml:3:", "needs 'exchange'"]),
        (
            "seamless:\n  vendors:\n    - {match: a, kind: polygon, per_minute: 0}\n",
            ["qmtl.yml:3:33:", "seamless.vendors[0].per_minute", "greater than 0"],
        ),
        (
            "seamless:\n  vendors:\n    - {match: a, kind: polygon, key: secret}\n",
            ["qmtl.yml:3:33:", "'seamless.vendors[0].key' is not known", "known here are match, kind, url"],
        ),
        ("seamless:\n  vendors:\n    - {match: a, kind: csv, path: b}\n", ["qmtl.yml:3:", "'ccxt', 'files'"]),
        ("seamless:\n  vendors:\n    - {match: a, path: b}\n", ["qmtl.yml:3:", "'kind'"]),
        (
            "seamless:\n  vendors:\n"
            "    - {match: a, kind: ccxt, exchange: x}\n    - {match: a, kind: ccxt, exchange: y}\n",
            ["qmtl.yml:1:", "two entries for 'a'", "never used"],
        ),
        (
            "schema:\n  validation_mode: loose\n",
            ["qmtl.yml:2:", "schema.validation_mode", "'canary' or 'strict'"],
        ),
        ("schema:\n  mode: strict\n", ["qmtl.yml:2:", "'schema.mode' is not known", "validation_mode"]),
        ("schemas:\n  a: 1\n", ["qmtl.yml:1:", "'schemas' is not known", "did you mean 'schema'?"]),
        ("connectors: {schema_registry: x}\n", ["qmtl.yml:1:", "did you mean 'schema_registry_url'?"]),
        (
            "connectors:\n  schema_registry_url: localhost:8081\n",
            ["qmtl.yml:2:", "connectors.schema_registry_url", "http://host:port"],
        ),
        ("seamless:\n  store: a\n  store: b\n", ["qmtl.yml:3:", "'store' is given twice"]),
        ("seamless: [1]\n", ["qmtl.yml:1:", "seamless"]),
        ("- seamless\n", ["qmtl.yml:1:", "sections"]),
        ("seamless:\n  store: {a\n", ["qmtl.yml:3:", "not YAML"]),
        ("seamless:\n\tstore: a\n", ["qmtl.yml:2:", "not YAML"]),
        ("a: 1\n---\nb: 2\n", ["qmtl.yml:2:", "not YAML"]),
        ("seamless:\n  store: !!python/object:os.system x\n", ["qmtl.yml:2:", "not YAML"]),
    ],
)
def test_slips_in_a_file(folder: Path, text: str, says: list[str]) -> None:
    written(folder, text)
    with pytest.raises(SettingsError) as caught:
        Settings.load(env={})
    for part in says:
        assert part in str(caught.value), str(caught.value)


def test_a_file_that_is_not_there_or_not_text(folder: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.yml cannot be read"):
        Settings.load("nowhere.yml", {})
    (folder / "qmtl.yml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match=r"qmtl\.yml cannot be read"):
        Settings.load(env={})


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("QMTL_SEAMLESS_SETTLE", "soon", "QMTL_SEAMLESS_SETTLE: 'seamless.settle'"),
        ("QMTL_SEAMLESS_STORE", "", "QMTL_SEAMLESS_STORE: the value of 'seamless.store'"),
        ("QMTL_SEAMLESS_SLA", "{total: [", "QMTL_SEAMLESS_SLA:1:10: this is not YAML"),
        ("QMTL_SEAMLESS_VENDORS", "[{match: a, kind: ccxt, exchang: x}]", "did you mean 'exchange'?"),
    ],
)
def test_slips_in_a_variable_are_reported_by_its_name(folder: Path, name: str, value: str, says: str) -> None:
    written(folder, EXAMPLE)
    with pytest.raises(SettingsError) as caught:
        Settings.load(env={name: value})
    assert says in str(caught.value)
    assert "qmtl.yml" not in str(caught.value)


def test_an_unknown_variable_gets_a_warning_with_the_nearest_name(folder: Path) -> None:
    with pytest.warns(SettingsWarning, match="did you mean QMTL_SEAMLESS_STORE?") as caught:
        Settings.load(env={"QMTL_SEAMLES_STORE": "x"})
    assert caught[0].filename == __file__
    Settings.load(env={"QMTL_TEST_DATA": "x", "QMTLX": "y"})


def test_settings_are_frozen(folder: Path) -> None:
    settings = Settings.load(env={})
    with pytest.raises(ValidationError, match="frozen"):
        settings.seamless.partial_ok = True  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: &a [*a]\n", "an anchor holds itself"),
        ("seamless: &x {<<: *x}\n", "an anchor holds itself"),
        ("? [1, 2]\n: 3\n", "a key is no text"),
    ],
)
def test_yaml_that_is_no_settings_is_reported(folder: Path, text: str, why: str) -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.load(written(folder, text), {})
    assert why in str(refused.value)
    assert refused.value.next_step


SECRETS = {"QMTL_SCHEMA_REGISTRY_URL": "http://127.0.0.1:1", "QMTL_SCHEMA_REGISTRY_USER": "null"}


@pytest.mark.parametrize("secret", ["007", "null", "a: b", "{", "no", " x ", "'quoted'"])
def test_credentials_of_variables_are_taken_letter_by_letter(secret: str) -> None:
    reported = Settings.load(env=SECRETS | {"QMTL_SCHEMA_REGISTRY_PASSWORD": secret})
    assert reported.connectors.schema_registry_auth == ("null", secret)
    token = {"QMTL_SCHEMA_REGISTRY_URL": "http://127.0.0.1:1", "QMTL_SCHEMA_REGISTRY_TOKEN": secret}
    assert Settings.load(env=token).connectors.schema_registry_auth == secret


def test_secrets_are_not_shown() -> None:
    reported = Settings.load(env=SECRETS | {"QMTL_SCHEMA_REGISTRY_PASSWORD": "hunter2"})
    assert "hunter2" not in f"{reported!r} {reported} {reported.model_dump()} {reported.model_dump_json()}"


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ("schema_registry_url: http://a\n  schema_registry_user: b", "need each other"),
        ("schema_registry_url: http://a\n  schema_registry_password: hunter2", "need each other"),
        ("schema_registry_token: hunter2", "only with schema_registry_url"),
        ("schema_registry_url: http://a\n  schema_registry_token: 12345678", "valid string"),
        ("schema_registry_url: ftp://b:hunter2@a", "http://host:port"),
        (
            "schema_registry_url: http://a\n  schema_registry_user: b\n"
            "  schema_registry_password: hunter2\n  schema_registry_token: hunter2",
            "two credentials",
        ),
    ],
)
def test_half_or_double_credentials_are_refused_without_showing_them(
    tmp_path: Path, lines: str, why: str
) -> None:
    file = tmp_path / "qmtl.yml"
    file.write_text(f"connectors:\n  {lines}\n")
    with pytest.raises(SettingsError) as caught:
        Settings.load(file, env={})
    assert why in str(caught.value)
    assert not re.search("hunter2|12345678", f"{caught.value!r} {caught.value}")
