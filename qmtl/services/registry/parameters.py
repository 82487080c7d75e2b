"""Parameters of paths and queries, defined once for all routes."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from typing import Annotated, Any, TypeVar

from fastapi import Path, Query
from pydantic import AfterValidator, BeforeValidator, WithJsonSchema
from starlette.exceptions import HTTPException

from qmtl.foundation.errors import SchemaRegistryError
from qmtl.foundation.schema.registry.contract import Version
from qmtl.services.http.paths import decoded
from qmtl.services.registry.wire import LARGEST

T = TypeVar("T")


def _subject(sent: Any) -> Any:
    try:
        return decoded(sent)
    except UnicodeDecodeError as failure:
        raise SchemaRegistryError(
            "the subject is not UTF-8",
            code=42208,
            why=str(failure),
            next_step="percent-encode its UTF-8 bytes",
        ) from failure


_NAME = {"type": "string", "minLength": 1, "pattern": "^[^\\x00-\\x1f\\x7f-\\x9f]+$"}

Subject = Annotated[
    str,
    BeforeValidator(_subject),
    WithJsonSchema(_NAME),
    Path(description="At most 255 bytes of UTF-8, percent-encoded; no control characters."),
]


# Ids are global; clients send a subject for its context, of which there is one.
ContextSubject = Annotated[
    str | None, WithJsonSchema(_NAME), Query(alias="subject", description="Changes nothing.")
]


def _version(sent: Any) -> Any:
    if sent in ("latest", "-1"):
        return "latest"
    if sent.isascii() and sent.isdecimal() and len(sent) <= 10:
        return int(sent)
    raise SchemaRegistryError(
        f"{sent!r} is not a version",
        code=42202,
        next_step=f"send a number from 1 to {LARGEST}, or latest",
    )


VersionNumber = Annotated[
    Version,
    BeforeValidator(_version),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "minimum": 1, "maximum": LARGEST}, {"enum": ["latest", "-1"]}]}
    ),
    Path(description="A number, or `latest`; `-1` is the latest too."),
]


def _id(sent: Any) -> Any:
    # An id that Java's int cannot hold is no such path at all; whether one that it can hold is there, the
    # registry says.
    if re.fullmatch("[+-]?[0-9]{1,10}", sent) and -LARGEST - 1 <= int(sent) <= LARGEST:
        return int(sent)
    raise HTTPException(404, f"Not Found: {sent!r} is no id, which is a number from 1 to {LARGEST}")


Id = Annotated[
    int, BeforeValidator(_id), WithJsonSchema({"type": "integer", "minimum": 1, "maximum": LARGEST}), Path()
]


def _flag(sent: Any) -> Any:
    # Python's clients send True and False.
    if sent.lower() not in ("true", "false"):
        raise ValueError("it must be true or false")
    return sent.lower() == "true"


No = Annotated[
    bool,
    BeforeValidator(_flag),
    WithJsonSchema({"type": "string", "enum": ["true", "false", "True", "False"], "default": "false"}),
    Query(),
]

Offset = Annotated[int, Query(ge=0, le=LARGEST, description="So many are passed over.")]
Limit = Annotated[
    int, Query(ge=-LARGEST, le=LARGEST, description="At most so many; 0 or a negative one: all.")
]
Prefix = Annotated[
    str,
    AfterValidator(lambda prefix: prefix.removeprefix(":*:")),
    Query(alias="subjectPrefix", description="`:*:` before it (all contexts) is ignored."),
]


def page(values: Iterable[T], offset: int, limit: int) -> list[T]:
    """A part of a list, as `offset` and `limit` cut it."""
    return list(itertools.islice(values, offset, offset + limit if limit > 0 else None))
