"""The programs of etcd: found, or refused with what is to be done."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from qmtl.foundation.errors import InvalidRequestError
from qmtl.services.coordinator.member import programs
from qmtl.services.coordinator.member.programs import etcd_program, etcdutl_program
from tests.qmtl import etcd


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    return tmp_path / "etcd"


def written(program: Path, text: str) -> Path:
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)
    return program


@pytest.mark.parametrize("version", [etcd.NEWEST, etcd.OLDEST])
def test_the_versions_that_are_tested(version: str) -> None:
    built = etcd.etcd_program(version)
    if built is None:
        pytest.skip("there is no etcd; scripts/build_etcd.sh builds it")
    assert etcd_program(built) == built


def test_the_one_in_path(fake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(fake, 'test "$1" = --version && echo "etcd Version: 3.6.0"')
    monkeypatch.setenv("PATH", str(fake.parent), prepend=":")
    assert etcd_program(None) == fake


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('echo "etcd Version: 3.5.21"', "has version 3.5.21"),
        ('echo "etcd Version: 3.10.1"', "has version 3.10.1"),
        ('echo "something else"', "does not tell its version"),
        ("exit 3", "it says nothing"),
    ],
)
def test_what_is_refused(fake: Path, text: str, reason: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        etcd_program(written(fake, text))
    assert reason in str(refused.value)
    assert "3.6 or 3.7" in (refused.value.next_step or "")
    assert "--etcd-program" in (refused.value.next_step or "")


def test_what_is_not_there(fake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidRequestError, match="is no program"):
        etcd_program(fake)
    monkeypatch.setenv("PATH", str(fake.parent))
    with pytest.raises(InvalidRequestError, match="no etcdutl in PATH") as refused:
        etcdutl_program(None)
    assert "--etcdutl-program" in (refused.value.next_step or "")


def test_what_is_no_program_of_this_machine(fake: Path) -> None:
    fake.write_bytes(b"\x7fELF and nothing more")
    fake.chmod(0o755)
    with pytest.raises(InvalidRequestError, match="cannot be run"):
        etcd_program(fake)


def test_where_a_child_could_be_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(InvalidRequestError, match="--member needs Linux"):
        etcd_program(None)
    assert programs  # it is the module that asks
