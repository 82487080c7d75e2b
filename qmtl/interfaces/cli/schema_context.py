"""What the commands about schemas stand on: the bundle, the audit log, the registry, the records."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qmtl.interfaces.cli.arguments import as_path
from qmtl.interfaces.cli.session import session_of

if TYPE_CHECKING:
    from qmtl.foundation.schema.documents import Schema
    from qmtl.foundation.schema.governance.audit_file import AuditLog
    from qmtl.foundation.schema.governance.bundle import Bundle
    from qmtl.foundation.schema.governance.decisions import GovernanceRecords, Governed
    from qmtl.foundation.schema.registry.contract import SchemaRegistry
    from qmtl.foundation.schema.registry.rest.address import Auth
    from qmtl.interfaces.cli.session import Session

SCHEMAS = Path("schemas")
LOG = "audit_log.jsonl"

Subject = Annotated[str, typer.Argument(metavar="SUBJECT", help="For example ohlcv.", show_default=False)]
BundleFolder = Annotated[
    Path | None,
    typer.Option(
        "--bundle",
        parser=as_path,
        metavar="DIR",
        help="The schemas in force; the newest schemas/v* without it.",
    ),
]
LogFile = Annotated[
    Path | None,
    typer.Option(
        "--log", parser=as_path, metavar="FILE", help="The audit log; the one beside the bundle without it."
    ),
]
VersionOption = Annotated[
    int | None, typer.Option("--version", metavar="N", help="The newest in force without it.")
]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; kept in the audit log.")]


@dataclass
class SchemaContext:
    """One command about schemas. Without a URL the bundle stands for the registry."""

    ctx: typer.Context
    folder: Path | None
    log_file: Path | None

    @property
    def session(self) -> Session:
        return session_of(self.ctx)

    @cached_property
    def url(self) -> str | None:
        return self.session.settings().connectors.schema_registry_url

    @property
    def _auth(self) -> Auth | None:
        return self.session.settings().connectors.schema_registry_auth

    def bundle(self) -> Bundle:
        """The folder that was named, or the newest in ./schemas, or the one that this package brings."""
        from qmtl.foundation.schema.builtin import BUILTIN
        from qmtl.foundation.schema.governance.bundle import Bundle

        return Bundle.read(self.folder or _newest() or BUILTIN)

    def log(self) -> AuditLog:
        from qmtl.foundation.schema.governance.audit_file import AuditLog

        return AuditLog(self.log_file or (SCHEMAS if self.folder is None else self.folder.parent) / LOG)

    def registry(self, *, of: Bundle | None = None) -> SchemaRegistry:
        """The one at the URL. Without a URL, or with `of`, one in this process that holds that bundle."""
        from qmtl.foundation.schema.registry.client import SchemaRegistryClient

        if self.url is not None and of is None:
            return self._remote
        registry = SchemaRegistryClient()
        for file in (of or self.bundle()).in_order():
            registry.register(file.subject, file.schema)
        return registry

    def logged(self) -> set[str] | None:
        """The heads that the audit log has had, as NUMBER:HASH; None where there is no log here."""
        from qmtl.foundation.schema.governance.audit import Anchor

        log = self.log()
        if not log.path.exists():
            return None
        return {str(Anchor(entry.number, entry.hash)) for entry in log.verify().entries}

    @cached_property
    def _remote(self) -> SchemaRegistry:
        from qmtl.foundation.schema.registry.remote import RemoteSchemaRegistryClient

        assert self.url is not None
        # Closed when the command ends.
        return self.ctx.with_resource(closing(RemoteSchemaRegistryClient(self.url, auth=self._auth)))

    def remote(self, what: str) -> SchemaRegistry:
        """The registry at the URL. Raises `InvalidRequestError` without one: `what` needs it."""
        from qmtl.foundation.errors import InvalidRequestError

        if self.url is None:
            raise InvalidRequestError(
                f"{what} needs a registry",
                next_step="'qmtl serve registry --port 8081 --store DIR' starts one; say where it is with "
                "QMTL_SCHEMA_REGISTRY_URL=http://127.0.0.1:8081, or connectors.schema_registry_url",
            )
        return self.registry()

    @contextmanager
    def records(self, *, make: bool = False) -> Iterator[GovernanceRecords]:
        """In the registry where a URL is set, else in the store of bars."""
        if self.url is not None:
            from qmtl.foundation.schema.registry.rest.records import RemoteRecords

            with closing(RemoteRecords.at(self.url, auth=self._auth)) as records:
                yield records
        else:
            with self.session.open_store(make=make) as store:
                yield store

    def known(self, subject: str) -> tuple[int, ...]:
        """The versions of a subject. Raises for a subject that nobody knows."""
        if self.url is not None:
            return self.registry().versions(subject)
        self.bundle().of_subject(subject)
        return (_number(self.bundle().folder),)

    def version(self, governed: Governed, subject: str, version: int | None) -> int:
        """The version that was named, or the newest that is not tombstoned."""
        from qmtl.foundation.errors import InvalidRequestError

        known = self.known(subject)
        if version is not None and version not in known:
            raise InvalidRequestError(
                f"{subject} has no version {version}", next_step=f"it has {', '.join(map(str, known))}"
            )
        newest = version or governed.newest(known)
        if newest is None:
            raise InvalidRequestError(
                f"every version of {subject} is tombstoned", next_step="register another, or give --version N"
            )
        return newest

    def schema(self, subject: str, file: Path | None) -> Schema:
        """Of a file (with its references, if the bundle declares it), of another bundle, or of the bundle."""
        from qmtl.foundation.errors import InvalidRequestError
        from qmtl.foundation.schema.documents import Schema
        from qmtl.foundation.schema.governance.bundle import TYPES

        if file is None:
            return self.bundle().of_subject(subject).schema
        try:
            if file.is_dir():
                from qmtl.foundation.schema.governance.bundle import Bundle

                return Bundle.read(file).of_subject(subject).schema
            if self.folder is not None and file.resolve().is_relative_to(self.folder.resolve()):
                for one in self.bundle().files:
                    if (self.folder / one.path).resolve() == file.resolve():
                        return one.schema
            kind = TYPES.get(file.suffix)
            if kind is None:
                raise InvalidRequestError(f"{file} is no schema", next_step="name a file *.json or *.avsc")
            return Schema(file.read_text(encoding="utf-8"), kind)
        except (OSError, UnicodeDecodeError) as failure:
            raise InvalidRequestError(f"{file} cannot be read", why=str(failure)) from failure


def _newest() -> Path | None:
    found = [path for path in SCHEMAS.glob("v*") if path.is_dir() and re.fullmatch(r"v\d+", path.name)]
    return max(found, key=_number, default=None)


def _number(folder: Path) -> int:
    """Which version a bundle is where no registry counts: schemas/v2 is 2, any other folder is 1."""
    match = re.fullmatch(r"v([1-9]\d*)", folder.name)
    return int(match[1]) if match else 1
