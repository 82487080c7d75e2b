"""Credentials of a registry come from variables or qmtl.yml, and are never shown."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from qmtl.foundation.schema.registry.client import SchemaRegistryClient
from qmtl.foundation.settings import Settings
from qmtl.services.http.access import password_hash, token_hash
from tests.qmtl.command_line import CommandLine, served_registry

PASSWORD, TOKEN = "007 is: a secret", "a-long-random-token"


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    auth = tmp_path / "auth.yml"
    auth.write_text(
        f"users:\n  alice: {{role: admin, scrypt: '{password_hash(PASSWORD)}'}}\n"
        f"tokens:\n  ingest: {{role: read, sha256: '{token_hash(TOKEN)}'}}\n"
    )
    with served_registry(tmp_path, "--auth", auth) as address:
        yield address


@pytest.fixture(autouse=True)
def environment(cli: CommandLine, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(cli.folder / "state"))
    monkeypatch.setenv("QMTL_SCHEMA_REGISTRY_URL", url)


def test_a_user_and_a_password_of_variables(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QMTL_SCHEMA_REGISTRY_USER", "alice")
    monkeypatch.setenv("QMTL_SCHEMA_REGISTRY_PASSWORD", PASSWORD)
    assert [one["version"] for one in cli.json("schema", "register")] == [1, 1]
    # Decisions and observations are asked for with the same credentials.
    assert cli.json("schema", "rollback", "ohlcv", "--reason", "a trial")["subject"] == "ohlcv"
    with closing(SchemaRegistryClient.from_settings(Settings.load())) as registry:
        assert registry.subjects() == ("ohlcv", "trades")


def test_a_token_of_the_file_has_its_role_alone(cli: CommandLine) -> None:
    cli.config.write_text(f"connectors: {{schema_registry_token: {TOKEN}}}\n")
    with closing(SchemaRegistryClient.from_settings(Settings.load(cli.config))) as registry:
        assert registry.subjects() == ()
    result = cli.run("schema", "register", before=("-v",))
    assert result.exit_code != 0
    assert TOKEN not in result.output


@pytest.mark.parametrize("credentials", [{}, {"USER": "alice", "PASSWORD": "hunter2"}, {"TOKEN": "hunter2"}])
def test_without_or_with_wrong_ones_nobody_enters_and_nothing_is_shown(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch, credentials: dict[str, str]
) -> None:
    for name, value in credentials.items():
        monkeypatch.setenv(f"QMTL_SCHEMA_REGISTRY_{name}", value)
    result = cli.run("schema", "register", before=("-v",))
    assert result.exit_code not in (0, 1)
    assert "hunter2" not in result.output
