"""What a registry refuses, each with the code and the facts that a client may act on.

Codes are the `error_code` of the REST API of Confluent's Schema Registry.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from qmtl.foundation.errors import IncompatibleSchemaError, SchemaRegistryError
from qmtl.foundation.schema.compatibility.levels import Comparison, Level
from qmtl.foundation.schema.documents import Reference


def subject_not_found(subject: str) -> SchemaRegistryError:
    return SchemaRegistryError(f"the subject {subject!r} is not registered", code=40401)


def version_not_found(subject: str, version: object) -> SchemaRegistryError:
    return SchemaRegistryError(f"the subject {subject!r} has no version {version}", code=40402)


def schema_not_found(where: str) -> SchemaRegistryError:
    return SchemaRegistryError(f"no schema is registered {where}", code=40403)


def subject_already_deleted(subject: str) -> SchemaRegistryError:
    return SchemaRegistryError(
        f"the subject {subject!r} is already softly deleted", code=40404, next_step="delete it permanently"
    )


def subject_not_deleted_first(subject: str) -> SchemaRegistryError:
    return SchemaRegistryError(
        f"the subject {subject!r} cannot be deleted permanently",
        code=40405,
        why="it is not softly deleted",
        next_step="delete it softly first",
    )


def version_already_deleted(subject: str, version: int) -> SchemaRegistryError:
    return SchemaRegistryError(
        f"version {version} of {subject!r} is already softly deleted",
        code=40406,
        next_step="delete it permanently",
    )


def version_not_deleted_first(subject: str, version: int) -> SchemaRegistryError:
    return SchemaRegistryError(
        f"version {version} of {subject!r} cannot be deleted permanently",
        code=40407,
        why="it is not softly deleted",
        next_step="delete it softly first",
    )


def no_level_of_its_own(subject: str) -> SchemaRegistryError:
    return SchemaRegistryError(f"the subject {subject!r} has no compatibility level of its own", code=40408)


def no_mode_of_its_own(subject: str) -> SchemaRegistryError:
    return SchemaRegistryError(f"the subject {subject!r} has no mode of its own", code=40409)


def incompatible(
    subject: str, level: Level, comparisons: Sequence[Comparison], *, code: int = 40901
) -> IncompatibleSchemaError:
    found = [one for one in comparisons if not one.verdict.is_compatible]
    problems = [(one, problem) for one in found for problem in one.verdict.problems]
    first, problem = problems[0]
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return IncompatibleSchemaError(
        f"the schema is incompatible with version {first.version} of {subject!r} under {level}",
        comparisons=comparisons,
        code=code,
        why=f"{problem.message}{more}",
        next_step="correct the schema, or register it under another subject",
    )


def invalid_schema(why: str) -> SchemaRegistryError:
    return SchemaRegistryError("the schema cannot be read", code=42201, why=why)


def reference_not_found(reference: Reference) -> SchemaRegistryError:
    return invalid_schema(
        f"it refers to {reference.name!r} in version {reference.version} of {reference.subject!r},"
        " which is not registered"
    )


def invalid_version(version: object) -> SchemaRegistryError:
    return SchemaRegistryError(
        f"{version!r} is no version",
        code=42202,
        next_step='give a number from 1 to 2147483647, or "latest"',
    )


def invalid_level(level: object) -> SchemaRegistryError:
    return SchemaRegistryError(
        f"{level!r} is no compatibility level", code=42203, next_step=f"give one of {', '.join(Level)}"
    )


def invalid_mode(mode: object, known: Iterable[str]) -> SchemaRegistryError:
    return SchemaRegistryError(
        f"{mode!r} is no mode", code=42204, next_step=f"give one of {', '.join(known)}"
    )


def not_permitted(what: str, why: str) -> SchemaRegistryError:
    return SchemaRegistryError(what, code=42205, why=why)


def still_referred_to(subject: str, version: int, ids: Sequence[int]) -> SchemaRegistryError:
    return SchemaRegistryError(
        f"version {version} of {subject!r} cannot be deleted",
        code=42206,
        why=f"schemas refer to it: {', '.join(map(str, ids))}",
        next_step="delete the versions with these ids first",
    )


def id_does_not_match(given: int, registered: int) -> SchemaRegistryError:
    return SchemaRegistryError(
        f"the schema cannot have the id {given}", code=42207, why=f"it is registered with the id {registered}"
    )


def invalid_subject(subject: object, why: str) -> SchemaRegistryError:
    return SchemaRegistryError(f"{subject!r} is no name for a subject", code=42208, why=why)


def schema_too_large(size: int, limit: int) -> SchemaRegistryError:
    return SchemaRegistryError(
        f"the schema has {size} bytes", code=42209, why=f"at most {limit} bytes are kept"
    )
