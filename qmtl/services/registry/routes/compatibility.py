"""What would break, before anything is registered."""

from __future__ import annotations

from fastapi import APIRouter

from qmtl.foundation.schema.registry.contract import SchemaRegistry
from qmtl.services.registry.bodies import SchemaBody
from qmtl.services.registry.parameters import No, Subject, VersionNumber
from qmtl.services.registry.routes import refused
from qmtl.services.registry.wire import Answer, CompatibilityAnswer, compatibility_json


def compatibility_routes(registry: SchemaRegistry) -> APIRouter:
    router = APIRouter(
        prefix="/compatibility/subjects/{subject:segment}/versions",
        tags=["compatibility"],
        default_response_class=Answer,
        responses=refused(404, 422),
    )

    @router.post("", response_model=CompatibilityAnswer)
    def check(
        subject: Subject, schema: SchemaBody, normalize: No = False, verbose: No = False, whole: No = False
    ) -> Answer:
        """Compares with the versions that the subject's level names. `whole` answers as `verbose`, without
        cuts.
        """
        comparisons = registry.check(subject, schema.within(registry), normalize=normalize)
        return Answer(compatibility_json(comparisons, verbose=verbose, whole=whole))

    @router.post("/{version}", response_model=CompatibilityAnswer)
    def check_version(
        subject: Subject,
        version: VersionNumber,
        schema: SchemaBody,
        normalize: No = False,
        verbose: No = False,
        whole: No = False,
    ) -> Answer:
        """Compares with one version alone, in the directions of the subject's level. `whole` answers as
        `verbose`, without cuts.
        """
        comparisons = registry.check(subject, schema.within(registry), version=version, normalize=normalize)
        return Answer(compatibility_json(comparisons, verbose=verbose, whole=whole))

    return router
