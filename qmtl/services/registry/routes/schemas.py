"""Schemas by their ids, and all of them."""

from __future__ import annotations

from collections.abc import Iterator

from fastapi import APIRouter

from qmtl.foundation.errors import SchemaRegistryError
from qmtl.foundation.schema.documents import SchemaType
from qmtl.foundation.schema.registry.contract import Registered, SchemaRegistry
from qmtl.foundation.schema.registry.storage import RegistryStorage
from qmtl.services.registry.parameters import ContextSubject, Id, Limit, No, Offset, Prefix, page
from qmtl.services.registry.routes import refused
from qmtl.services.registry.wire import (
    Answer,
    SchemaOfIdAnswer,
    UsageAnswer,
    VersionAnswer,
    schema_json,
    version_json,
)


def schema_routes(registry: SchemaRegistry, storage: RegistryStorage) -> APIRouter:
    router = APIRouter(tags=["schemas"], default_response_class=Answer)

    # On the loop, not in a thread: a known id is answered from memory, an unknown one by one short read.
    @router.get("/schemas/ids/{id}", response_model=SchemaOfIdAnswer, responses=refused(404, 422))
    async def schema_by_id(id: Id, subject: ContextSubject = None, fetchMaxId: No = False) -> Answer:
        """The schema of an id. Ids are global; `subject` changes nothing."""
        found = schema_json(registry.by_id(id, subject=subject))
        if fetchMaxId:
            with storage.reading() as view:
                found["maxId"] = view.last_id()
        return Answer(found)

    @router.get("/schemas/ids/{id}/schema", responses=refused(404, 422))
    async def schema_text(id: Id, subject: ContextSubject = None) -> Answer:
        """The schema of an id, as its bare text."""
        return Answer(registry.by_id(id, subject=subject).text.encode())

    @router.get("/schemas/ids/{id}/subjects", response_model=list[str], responses=refused(404, 422))
    def subjects_of_id(
        id: Id, subject: ContextSubject = None, deleted: No = False, offset: Offset = 0, limit: Limit = -1
    ) -> Answer:
        """The subjects that use the schema of an id."""
        found = dict.fromkeys(usage.subject for usage in registry.usages(id, deleted=deleted))
        return Answer(page(found, offset, limit))

    @router.get("/schemas/ids/{id}/versions", response_model=list[UsageAnswer], responses=refused(404, 422))
    def versions_of_id(
        id: Id, subject: ContextSubject = None, deleted: No = False, offset: Offset = 0, limit: Limit = -1
    ) -> Answer:
        """The versions that use the schema of an id."""
        found = registry.usages(id, deleted=deleted)
        return Answer([usage._asdict() for usage in page(found, offset, limit)])

    @router.get("/schemas/types", response_model=list[str])
    async def types() -> Answer:
        """The languages that are read here."""
        return Answer([kind.value for kind in SchemaType])

    @router.get("/schemas", response_model=list[VersionAnswer], responses=refused(422))
    def schemas(
        prefix: Prefix = "",
        deleted: No = False,
        latestOnly: No = False,
        offset: Offset = 0,
        limit: Limit = -1,
    ) -> Answer:
        """All versions of all subjects, or the latest of each."""
        found = _all(registry, prefix, deleted, latestOnly)
        return Answer([version_json(one) for one in page(found, offset, limit)])

    return router


def _all(registry: SchemaRegistry, prefix: str, deleted: bool, latest: bool) -> Iterator[Registered]:
    for subject in registry.subjects(prefix=prefix, deleted=deleted):
        try:
            versions = registry.versions(subject, deleted=deleted)
            for version in versions[-1:] if latest else versions:
                yield registry.version(subject, version, deleted=deleted)
        except SchemaRegistryError as failure:
            if failure.status != 404:  # deleted by another, since it was listed
                raise
