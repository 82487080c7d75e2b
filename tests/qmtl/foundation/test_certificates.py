"""Which authorities are trusted here, and what is wrong where a certificate is refused."""

from __future__ import annotations

import ssl
from pathlib import Path

import certifi
import pytest

from qmtl.foundation import certificates
from qmtl.foundation.certificates import ADVICE, Trust, advice, tls_problem, trusted, trusted_context
from qmtl.foundation.errors import InvalidRequestError


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in certificates.VARIABLES:
        monkeypatch.delenv(name, raising=False)


def test_the_first_variable_that_is_set_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    assert trusted() == Trust("the package certifi", certifi.where())
    monkeypatch.setenv("SSL_CERT_DIR", "/folder")
    assert trusted() == Trust("SSL_CERT_DIR", "/folder")
    monkeypatch.setenv("SSL_CERT_FILE", "/file.pem")
    assert trusted() == Trust("SSL_CERT_FILE", "/file.pem")
    assert str(trusted()) == "SSL_CERT_FILE: /file.pem"
    monkeypatch.setenv("SSL_CERT_FILE", "")  # set to nothing is not set
    assert trusted().source == "SSL_CERT_DIR"


def test_without_the_package_the_system_is_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "find_spec", lambda name: None)
    assert trusted().source == "the system"
    assert trusted().path


def test_a_context_trusts_them_and_checks_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = trusted_context()
    assert context.cert_store_stats()["x509_ca"] > 10
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    assert trusted_context().cert_store_stats()["x509_ca"] == 0  # a folder is read when it is needed


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_authorities_that_cannot_be_read_are_refused(
    content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "authorities.pem"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    with pytest.raises(InvalidRequestError, match="cannot be read") as refused:
        trusted_context()
    assert str(path) in refused.value.what
    assert refused.value.next_step == "correct SSL_CERT_FILE: the path of a PEM file"


def verification(message: str) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "failed")
    error.verify_message = message
    return error


def of_reason(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, "failed")
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (None, None),
        (ConnectionResetError("gone"), None),
        (verification("self-signed certificate"), "its certificate is not trusted: self-signed certificate"),
        (
            of_reason("WRONG_VERSION_NUMBER"),
            "it does not speak TLS there; its address may have to begin with http://",
        ),
        (of_reason("NO_CIPHERS"), "TLS failed: NO_CIPHERS"),
    ],
)
def test_what_was_wrong_is_found_behind_any_number_of_errors(
    error: BaseException | None, problem: str | None
) -> None:
    assert tls_problem(error) == problem
    outer = RuntimeError("client")
    outer.__context__ = OSError("connection")
    outer.__context__.__cause__ = error
    assert tls_problem(outer) == problem


def test_errors_that_cause_each_other_end_the_search() -> None:
    one, two = RuntimeError("1"), RuntimeError("2")
    one.__cause__, two.__cause__ = two, one
    assert tls_problem(one) is None


def test_advice_follows_the_problem() -> None:
    assert advice("its certificate is not trusted: expired") == ADVICE
    assert "proxy" in advice("TLS failed: NO_CIPHERS")
