"""A bundle: a folder of schema files that are in force together, and the fingerprint of what they mean."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from hashlib import sha256
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.schema.canonical_form.forms import bundle_text
from qmtl.foundation.schema.documents import Reference, Schema, SchemaType
from qmtl.foundation.schema.json_values import ordered, parse

# What stands beside the schemas and says more of them; it may be missing.
DECLARATIONS = "bundle.yml"
TYPES = {".json": SchemaType.JSON, ".avsc": SchemaType.AVRO}


class _Reference(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: str
    subject: str
    version: Annotated[int, Field(ge=1)]


class _Declaration(BaseModel):
    """What `bundle.yml` may say of a file."""

    model_config = ConfigDict(extra="forbid", strict=True)

    subject: Annotated[str, Field(min_length=1)] | None = None
    references: list[_Reference] = []


@dataclass(frozen=True, slots=True)
class BundleFile:
    """One schema of a bundle. `path` is relative to the bundle, with slashes."""

    path: str
    subject: str
    schema: Schema


@dataclass(frozen=True)
class Bundle:
    """All schemas of a folder, sorted by path.

    `*.json` are JSON Schemas, `*.avsc` are Avro; folders within count, too. The subject of a file is its name
    without the ending, unless `bundle.yml` says otherwise:

        bars/daily.avsc: {subject: ohlcv.daily, references: [{name: qmtl.Price, subject: price, version: 1}]}

    Hidden files are passed over. Any other file is refused: it would look covered by the fingerprint.
    """

    folder: Path
    files: tuple[BundleFile, ...]

    @classmethod
    def read(cls, folder: str | Path) -> Bundle:
        """Raises `InvalidRequestError` for what is no bundle; the schemas themselves are not checked."""
        folder = Path(folder)
        if not folder.is_dir():
            raise _unusable(folder, "is not a folder", _what_is_at(folder))
        try:
            linked = next((path for path in folder.rglob("*") if path.is_symlink() and path.is_dir()), None)
            names = sorted(
                path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()
            )
        except OSError as failure:
            raise _unusable(folder, "cannot be read", str(failure)) from failure
        if linked is not None:
            why = f"it is a link to {os.readlink(linked)}, and what lies behind a link is not covered"
            raise _unusable(folder, f"holds the folder {linked.name!r}", why)
        names = [name for name in names if not any(part.startswith(".") for part in name.split("/"))]
        declared = _declared(folder)
        for name in declared:
            if name not in names or Path(name).suffix not in TYPES:
                raise _unusable(folder, f"{DECLARATIONS} speaks of {name!r}", "there is no such schema file")
        files = tuple(_file(folder, name, declared) for name in names if name != DECLARATIONS)
        if not files:
            raise _unusable(folder, "holds no schema", "a bundle has files that end with .json or .avsc")
        subjects: dict[str, str] = {}
        for file in files:
            if file.subject in subjects:
                why = f"{subjects[file.subject]} and {file.path} would be the same subject"
                raise _unusable(folder, f"has the subject {file.subject!r} twice", why)
            subjects[file.subject] = file.path
        return cls(folder, files)

    @cached_property
    def sha256(self) -> str:
        """Lower-case hexadecimal; over what `canonical` says."""
        return sha256(self.canonical.encode()).hexdigest()

    @cached_property
    def canonical(self) -> str:
        """One text of all that the bundle says: paths, subjects, types, references and schemas.

        The same for any white space, order of keys, order of files and line ends (see canonical_form). The
        order of lists stays: it means something in both languages.
        """
        return ordered([[file.path, file.subject, bundle_text(file.schema)] for file in self.files])

    def of_subject(self, subject: str) -> BundleFile:
        """Raises `InvalidRequestError` that names those there are."""
        for file in self.files:
            if file.subject == subject:
                return file
        known = ", ".join(file.subject for file in self.files)
        raise InvalidRequestError(
            f"the bundle {self.folder} has no subject {subject!r}", next_step=f"it has {known}"
        )

    def in_order(self) -> tuple[BundleFile, ...]:
        """What is referred to comes before what refers to it. Raises `InvalidRequestError` for a circle."""
        by_subject = {file.subject: file for file in self.files}
        needs = {
            file.subject: [one.subject for one in file.schema.references if one.subject in by_subject]
            for file in self.files
        }
        try:
            return tuple(by_subject[subject] for subject in TopologicalSorter(needs).static_order())
        except CycleError as failure:
            circle = " -> ".join(failure.args[1])
            raise _unusable(self.folder, "has references in a circle", circle) from None


def _what_is_at(path: Path) -> str:
    if path.is_symlink():
        target = os.readlink(path)
        return f"it is a link to {target}, {'which is a file' if path.exists() else 'and nothing is there'}"
    return "it is a file" if path.exists() else "nothing is there"


def _declared(folder: Path) -> Mapping[str, _Declaration]:
    path = folder / DECLARATIONS
    if not path.exists():
        return {}
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
        return TypeAdapter(dict[str, _Declaration]).validate_python(value or {})
    except (OSError, ValueError, yaml.YAMLError) as failure:  # ValueError: also of a date such as 2024-13-01
        raise InvalidRequestError(
            f"{path} cannot be used",
            why=" ".join(str(failure).split()),
            next_step="write: FILE: {subject: NAME, references: [{name: N, subject: S, version: 1}]}",
        ) from failure


def _file(folder: Path, name: str, declared: Mapping[str, _Declaration]) -> BundleFile:
    path = folder / name
    kind = TYPES.get(path.suffix)
    if kind is None:
        raise _unusable(folder, f"holds {name!r}", f"a bundle has *.json, *.avsc and {DECLARATIONS}, no more")
    try:
        text = path.read_text(encoding="utf-8")
        parse(text)
    except (OSError, ValueError) as failure:
        raise InvalidRequestError(
            f"{path} is not JSON",
            why=str(failure),
            next_step="correct the file; the bundle is read as a whole or not at all",
        ) from failure
    declaration = declared.get(name, _Declaration())
    references = tuple(Reference(one.name, one.subject, one.version) for one in declaration.references)
    return BundleFile(name, declaration.subject or path.stem, Schema(text, kind, references))


def _unusable(folder: Path, what: str, why: str) -> InvalidRequestError:
    return InvalidRequestError(f"the bundle {folder} {what}", why=why, next_step="name a folder of schemas")
