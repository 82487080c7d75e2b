"""Credentials, certificates and proxies: used as they should be, and never shown."""

from __future__ import annotations

import datetime
import ipaddress
import json
import pickle
from base64 import b64decode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.errors import InvalidRequestError, RegistryUnavailableError, SchemaRegistryError
from qmtl.foundation.schema.registry.remote import RemoteSchemaRegistryClient
from qmtl.foundation.schema.registry.rest.address import Address
from qmtl.services.http.access import password_hash, token_hash

PASSWORD = "se:cret/ß@%"
ENCODED = "se%3Acret%2F%C3%9F%40%25"


@pytest.fixture
def guarded(serve: Callable[..., Any], tmp_path: Path) -> Any:
    people = {
        "users": {"al ice@home": {"role": "admin", "scrypt": password_hash(PASSWORD)}},
        "tokens": {"reader": {"role": "read", "sha256": token_hash("token-of-a-reader")}},
    }
    file = tmp_path / "people.json"
    file.write_text(json.dumps(people), encoding="utf-8")
    return serve("--auth", file)


@pytest.fixture
def connect() -> Iterator[Callable[..., RemoteSchemaRegistryClient]]:
    made: list[RemoteSchemaRegistryClient] = []

    def make(url: str, **options: Any) -> RemoteSchemaRegistryClient:
        made.append(RemoteSchemaRegistryClient(url, **{"timeout_s": 60, **options}))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_credentials_open_the_door_and_are_not_shown(guarded: Any, connect: Any) -> None:
    in_url = guarded.url.replace("//", f"//al%20ice%40home:{ENCODED}@")
    for registry in (connect(guarded.url, auth=("al ice@home", PASSWORD)), connect(in_url)):
        assert registry.register("a", '"int"').version == 1
        assert registry.url == guarded.url
        shown = repr(registry) + repr(registry.__dict__)
        assert PASSWORD not in shown
        assert ENCODED not in shown
    reader = connect(guarded.url, auth="token-of-a-reader")
    assert reader.versions("a") == (1,)
    with pytest.raises(SchemaRegistryError, match="role") as error:
        reader.register("a", '"long"')
    assert (error.value.code, error.value.status) == (403, 403)


@pytest.mark.parametrize(
    "auth", [None, ("al ice@home", "wrong-password"), ("nobody", PASSWORD), "token-of-nobody", ("", "")]
)
def test_wrong_credentials_are_reported_but_not_shown(auth: Any, guarded: Any, connect: Any) -> None:
    with pytest.raises(SchemaRegistryError) as error:
        connect(guarded.url, auth=auth).subjects()
    assert (error.value.code, error.value.status) == (401, 401)
    assert error.value.next_step == "give credentials that the registry knows"
    for secret in ("wrong-password", PASSWORD, "token-of"):
        assert secret not in str(error.value)


def test_errors_of_a_registry_that_is_away_hold_no_credentials(connect: Any) -> None:
    registry = connect(f"http://al%20ice:{ENCODED}@127.0.0.1:1")
    with pytest.raises(RegistryUnavailableError) as error:
        registry.subjects()
    for shown in (str(error.value), repr(error.value), error.value.url):
        assert ENCODED not in shown
        assert PASSWORD not in shown
        assert "al%20ice" not in shown
    assert pickle.loads(pickle.dumps(error.value)).url == "http://127.0.0.1:1"


def test_two_credentials_are_refused() -> None:
    with pytest.raises(InvalidRequestError, match="two credentials") as error:
        RemoteSchemaRegistryClient(f"http://a:{ENCODED}@host", auth="token-of-a-reader")
    assert ENCODED not in str(error.value)
    assert "token-of" not in str(error.value)


@pytest.mark.parametrize("auth", ["", "two words", "ümlaut", "line\nbreak", ("a:b", "secret")])
def test_credentials_that_cannot_be_sent_are_refused(auth: Any) -> None:
    with pytest.raises(InvalidRequestError) as error:
        RemoteSchemaRegistryClient("http://host", auth=auth)
    assert "secret" not in str(error.value)


@given(
    name=st.text(st.characters(exclude_categories=["Cs"], exclude_characters=":"), max_size=8),
    password=st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
)
def test_a_url_keeps_no_part_of_its_credentials(name: str, password: str) -> None:
    url = f"https://{quote(name, safe='')}:{quote(password, safe='')}@registry.example:8081/base/"
    address = Address.read(url)
    assert address.url == "https://registry.example:8081/base"
    assert address.authorization is not None
    scheme, _, sent = address.authorization.partition(" ")
    assert (scheme, b64decode(sent).decode()) == ("Basic", f"{name}:{password}")
    assert address == Address.read(address.url, (name, password))
    assert sent not in repr(address)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:1", True),
        ("http://127.9.9.9:1", True),
        ("http://[::1]:1", True),
        ("http://LOCALHOST", True),
        ("http://x.localhost", True),
        ("http://10.0.0.1", False),
        ("http://localhost.example", False),
        ("http://[::2]", False),
    ],
)
def test_loopback_is_known_by_its_name(url: str, expected: bool) -> None:
    assert Address.read(url).is_loopback is expected


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_no_proxy_stands_before_loopback(
    name: str, serve: Any, scripted: Any, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = scripted("reset")
    monkeypatch.setenv(name, proxy.url)
    assert connect(serve().url).subjects() == ()
    assert proxy.requests == []


def test_a_proxy_stands_before_other_machines(
    scripted: Any, http: Any, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = scripted(http(200, ["a"]))
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert connect("http://registry.example:8081/base").subjects() == ("a",)
    assert proxy.requests[0].startswith("GET http://registry.example:8081/base/subjects HTTP/1.1")


def test_a_proxy_of_an_unknown_kind_is_reported(connect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "nonsense://127.0.0.1:1")
    with pytest.raises(InvalidRequestError, match="proxy"):
        connect("http://registry.example").subjects()


def _usage(*, signs: bool) -> x509.KeyUsage:
    """What RFC 5280 wants to be told of a key: an authority's signs certificates, a server's does not."""
    others = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "crl_sign")
    never = dict.fromkeys((*others, "encipher_only", "decipher_only"), False)
    return x509.KeyUsage(digital_signature=True, key_cert_sign=signs, **never)


def _certificate(folder: Path) -> tuple[Path, Path, Path]:
    """Files of an authority, of a certificate by it for 127.0.0.1, and of its key."""
    now = datetime.datetime.now(datetime.UTC)
    made: list[tuple[Any, Any]] = []
    for common in ("authority", "server"):
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
        issuer, signer = (made[0][0].subject, made[0][1]) if made else (name, key)
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=not made, path_length=None), critical=True)
            .add_extension(_usage(signs=not made), critical=True)
            .add_extension(x509.SubjectAlternativeName([address]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
            )
            .sign(signer, hashes.SHA256())
        )
        made.append((certificate, key))
    files = folder / "authority.pem", folder / "server.pem", folder / "server.key"
    for file, (certificate, _) in zip(files[:2], made, strict=True):
        file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[2].write_bytes(
        made[1][1].private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return files


def test_a_certificate_is_trusted_by_its_authority_alone(
    serve: Any, connect: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, certificate, key = _certificate(tmp_path)
    server = serve("--tls-cert", certificate, "--tls-key", key)
    assert server.url.startswith("https://")
    assert connect(server.url, ca=authority).register("a", '"int"').version == 1
    with pytest.raises(RegistryUnavailableError, match=r"(?i)certificate"):
        connect(server.url).subjects()
    with pytest.raises(RegistryUnavailableError):
        connect(server.url.replace("https", "http")).subjects()
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    assert connect(server.url).versions("a") == (1,)


@pytest.mark.parametrize("content", [None, b"", b"nonsense"])
def test_authorities_that_cannot_be_used_are_reported(
    content: bytes | None, tmp_path: Path, connect: Any
) -> None:
    file = tmp_path / "authority.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InvalidRequestError, match=r"authority\.pem"):
        connect("https://127.0.0.1:1", ca=file).subjects()
