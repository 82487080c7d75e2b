"""Subjects and their versions."""

from __future__ import annotations

from fastapi import APIRouter

from qmtl.foundation.schema.registry.contract import SchemaRegistry
from qmtl.services.registry.bodies import RegistrationBody, SchemaBody
from qmtl.services.registry.parameters import Limit, No, Offset, Prefix, Subject, VersionNumber, page
from qmtl.services.registry.routes import refused
from qmtl.services.registry.wire import (
    Answer,
    IncompatibleAnswer,
    RegisteredAnswer,
    VersionAnswer,
    version_json,
)


def subject_routes(registry: SchemaRegistry) -> APIRouter:
    router = APIRouter(tags=["subjects"], default_response_class=Answer)

    @router.get("/subjects", response_model=list[str], responses=refused(422))
    def subjects(
        prefix: Prefix = "",
        deleted: No = False,
        deletedOnly: No = False,
        offset: Offset = 0,
        limit: Limit = -1,
    ) -> Answer:
        """The names of all subjects, in order."""
        found = registry.subjects(prefix=prefix, deleted=deleted, deleted_only=deletedOnly)
        return Answer(page(found, offset, limit))

    @router.post("/subjects/{subject:segment}", response_model=VersionAnswer, responses=refused(404, 422))
    def lookup(subject: Subject, schema: SchemaBody, normalize: No = False, deleted: No = False) -> Answer:
        """The version of the subject that has this schema."""
        return Answer(
            version_json(
                registry.lookup(subject, schema.within(registry), normalize=normalize, deleted=deleted)
            )
        )

    @router.delete("/subjects/{subject:segment}", response_model=list[int], responses=refused(404, 422))
    def delete_subject(subject: Subject, permanent: No = False) -> Answer:
        """Deletes the subject softly, or after that permanently; the versions that were deleted."""
        return Answer(registry.delete_subject(subject, permanent=permanent))

    @router.get("/subjects/{subject:segment}/versions", response_model=list[int], responses=refused(404, 422))
    def versions(
        subject: Subject,
        deleted: No = False,
        deletedOnly: No = False,
        offset: Offset = 0,
        limit: Limit = -1,
    ) -> Answer:
        """The numbers of the subject's versions, in order."""
        found = registry.versions(subject, deleted=deleted, deleted_only=deletedOnly)
        return Answer(page(found, offset, limit))

    @router.post(
        "/subjects/{subject:segment}/versions",
        response_model=RegisteredAnswer,
        responses=refused(422)
        | {409: {"model": IncompatibleAnswer, "description": "The schema is incompatible, and why."}},
    )
    def register(subject: Subject, schema: RegistrationBody, normalize: No = False) -> Answer:
        """Registers the schema as the next version, or finds it among those that there are."""
        done = registry.register(subject, schema.within(registry), normalize=normalize, **schema.given)
        return Answer({"id": done.id, "version": done.version})

    @router.get(
        "/subjects/{subject:segment}/versions/{version}",
        response_model=VersionAnswer,
        responses=refused(404, 422),
    )
    def version(subject: Subject, version: VersionNumber, deleted: No = False) -> Answer:
        """One version of the subject."""
        return Answer(version_json(registry.version(subject, version, deleted=deleted)))

    @router.get("/subjects/{subject:segment}/versions/{version}/schema", responses=refused(404, 422))
    def version_text(subject: Subject, version: VersionNumber, deleted: No = False) -> Answer:
        """One version of the subject, as the bare text of its schema."""
        return Answer(registry.version(subject, version, deleted=deleted).schema.text.encode())

    @router.get(
        "/subjects/{subject:segment}/versions/{version}/referencedby",
        response_model=list[int],
        responses=refused(404, 422),
    )
    def referenced_by(
        subject: Subject, version: VersionNumber, offset: Offset = 0, limit: Limit = -1
    ) -> Answer:
        """The ids of the schemas that refer to this version."""
        return Answer(page(registry.referenced_by(subject, version), offset, limit))

    @router.delete(
        "/subjects/{subject:segment}/versions/{version}", response_model=int, responses=refused(404, 422)
    )
    def delete_version(subject: Subject, version: VersionNumber, permanent: No = False) -> Answer:
        """Deletes the version softly, or after that permanently; its number."""
        return Answer(registry.delete_version(subject, version, permanent=permanent))

    return router
