"""The fleet of containers, which is not run here: it has the parts of fleet.sh, and its commands exist."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest
import typer
import yaml

from qmtl.foundation.settings import Settings
from qmtl.interfaces.cli.main import app
from tests.qmtl.etcd import etcd_program

OPERATIONS = Path(__file__).parents[2] / "operations"
TEXT = (OPERATIONS / "compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, Any] = COMPOSE["services"]
ETCDS = [name for name in SERVICES if name.startswith("etcd-")]

# What stands in services of this file; each key is one of the Compose specification.
KEYS = {
    *("build", "command", "depends_on", "environment", "healthcheck", "image", "networks", "restart"),
    *("stop_grace_period", "volumes"),
}


def test_it_says_first_that_it_is_not_run() -> None:
    assert TEXT.startswith("# NOT RUN BY US")


def test_its_parts_are_those_of_the_script() -> None:
    script = (OPERATIONS / "fleet.sh").read_text()
    found = re.search(r"^parts=\((.+)\)$", script, re.MULTILINE)
    assert found is not None
    # Here a name leads to both coordinators, so that nothing has to stand before them.
    assert sorted(SERVICES) == sorted(set(found[1].split()) - {"balance"})


def test_its_keys_are_known_and_what_it_names_is_there() -> None:
    assert set(COMPOSE) - {key for key in COMPOSE if key.startswith("x-")} == {"name", "services", "volumes"}
    for service in SERVICES.values():
        assert set(service) <= KEYS
        assert set(service.get("depends_on", ())) <= set(SERVICES)
        assert {volume.partition(":")[0] for volume in service.get("volumes", ())} <= set(COMPOSE["volumes"])
        if "build" in service:
            context = (OPERATIONS / service["build"]["context"]).resolve()
            assert (context / service["build"]["dockerfile"]).is_file()
    assert all("ports" not in service for service in SERVICES.values())


@pytest.mark.parametrize("name", [name for name in SERVICES if name.startswith(("coordinator", "worker"))])
def test_commands_of_qmtl_are_ones(name: str) -> None:
    command: Any = typer.main.get_command(app)
    words = list(SERVICES[name]["command"])
    context = None
    while hasattr(command, "commands"):
        context = click.Context(command, parent=context, info_name=words[0])
        command = command.commands[words.pop(0)]
    parsed = command.make_context(name, words, parent=context)
    for option in ("etcd", "host", "unprotected") if name.startswith("coordinator") else ():
        assert parsed.params[option]


def test_what_the_image_is_built_of_is_there() -> None:
    lines = (OPERATIONS / "Dockerfile").read_text().splitlines()
    copied = [word for line in lines if line.startswith("COPY ") for word in line.split()[1:-1]]
    assert copied
    assert [name for name in copied if not (OPERATIONS.parent / name).exists()] == []
    assert 'ENTRYPOINT ["qmtl"]' in lines


@pytest.mark.parametrize("name", [name for name in SERVICES if name.startswith("worker")])
def test_the_settings_of_workers_can_be_used(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for variable, value in SERVICES[name]["environment"].items():
        monkeypatch.setenv(variable, value)
    seamless = Settings.load().seamless
    assert str(seamless.store) == "postgresql://qmtl@postgres:5432/qmtl?schema=bars"
    assert [vendor.match for vendor in seamless.vendors] == ["ohlcv:binance:*"]
    host = re.fullmatch(r"http://(\w+):8090", str(seamless.coordinator_url).rstrip("/"))
    assert host is not None
    aliases = [one for one in SERVICES if host[1] in str(SERVICES[one].get("networks"))]
    assert aliases == ["coordinator-0", "coordinator-1"]


@pytest.mark.parametrize("name", ETCDS)
def test_members_of_etcd_agree(name: str) -> None:
    program, *words = SERVICES[name]["command"]
    options = dict(word.removeprefix("--").split("=", 1) for word in words)
    assert program == "etcd"
    group = dict(one.split("=") for one in options["initial-cluster"].split(","))
    assert group == {f"n{one[-1]}": f"http://{one}:2380" for one in ETCDS}
    assert options["name"] == f"n{name[-1]}"
    assert options["initial-advertise-peer-urls"] == group[options["name"]]
    assert options["data-dir"] == SERVICES[name]["volumes"][0].partition(":")[2]
    known = etcd_program()
    if known is not None:
        helped = subprocess.run([known, "--help"], capture_output=True, text=True, check=True)
        text = helped.stdout + helped.stderr
        assert [option for option in options if f"--{option}" not in text] == []
