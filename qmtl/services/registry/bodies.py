"""What comes in over the wire: bodies as Confluent's registry takes them."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, Field, model_validator

from qmtl.foundation.errors import SchemaRegistryError
from qmtl.foundation.schema.compatibility.levels import Level
from qmtl.foundation.schema.documents import Reference, Schema, SchemaType
from qmtl.foundation.schema.registry.contract import Mode, SchemaRegistry
from qmtl.services.registry.wire import LARGEST


class _Request(BaseModel):
    """Unknown fields are ignored, as in Confluent's registry.

    not_kept: fields that it knows, and that change what is stored or answered. They are refused here unless
        they are empty, so that nobody relies on what is missing.
    """

    not_kept: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="before")
    @classmethod
    def _refuse_what_is_not_kept(cls, sent: Any) -> Any:
        for name in cls.not_kept:
            if isinstance(sent, dict) and sent.get(name):
                raise ValueError(f"{name} is not kept here; leave it out")
        return sent


class ReferenceBody(_Request):
    """Another registered schema that this one uses, and how its text calls it.

    Version -1 is the latest there is now; its number is kept in place of it.
    """

    name: str
    subject: str
    version: Annotated[int, Field(ge=1, le=LARGEST)] | Literal[-1]

    def within(self, registry: SchemaRegistry) -> Reference:
        if self.version != -1:
            return Reference(self.name, self.subject, self.version)
        try:
            return Reference(self.name, self.subject, registry.version(self.subject, "latest").version)
        except SchemaRegistryError as failure:
            if failure.status != HTTPStatus.NOT_FOUND:
                raise
            raise SchemaRegistryError(
                "the schema cannot be read",
                code=42201,
                why=f"it refers to {self.name!r} in the latest version of {self.subject!r}: {failure.what}",
            ) from failure


def _known_type(value: Any) -> Any:
    if value is None:
        return SchemaType.AVRO
    if isinstance(value, str) and value not in SchemaType.__members__:
        raise SchemaRegistryError(
            f"the schema type {value!r} is not read here",
            code=42201,
            next_step=f"send one of {', '.join(SchemaType)}",
        )
    return value


class SchemaBody(_Request):
    """A schema as text. Metadata, rules and tags beside it are not kept, and so refused."""

    not_kept = ("metadata", "ruleSet", "schemaTagsToAdd", "schemaTagsToRemove", "propagateSchemaTags")

    text: Annotated[str, Field(alias="schema")]
    type: Annotated[SchemaType, BeforeValidator(_known_type), Field(alias="schemaType")] = SchemaType.AVRO
    references: list[ReferenceBody] | None = None

    def within(self, registry: SchemaRegistry) -> Schema:
        uses = self.references or ()
        return Schema(self.text, self.type, tuple(one.within(registry) for one in uses))


class RegistrationBody(SchemaBody):
    """A schema to register. `version` and `id` are those given elsewhere, in mode IMPORT.

    A version of 0 and an id of -1 are none: so Java's clients say that they were not given.
    """

    version: Annotated[int, Field(ge=0, le=LARGEST)] | None = None
    id: Annotated[int, Field(ge=1, le=LARGEST)] | Literal[-1] | None = None

    @property
    def given(self) -> dict[str, int | None]:
        """Version and id, as `SchemaRegistry.register` takes them."""
        return {"version": self.version or None, "id": None if self.id == -1 else self.id}


class LevelBody(_Request):
    """Of the settings of a subject only its level is kept; others are refused."""

    not_kept = (
        *("alias", "aliasForDeks", "normalize", "compatibilityGroup", "compatibilityPolicy"),
        *("validateFields", "validateNames", "validateNewSchemas", "validateRules"),
        *("defaultMetadata", "overrideMetadata", "defaultRuleSet", "overrideRuleSet"),
    )

    compatibility: Annotated[str, Field(json_schema_extra={"enum": list(Level)})]


class ModeBody(_Request):
    mode: Annotated[str, Field(json_schema_extra={"enum": list(Mode)})]
