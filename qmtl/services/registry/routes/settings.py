"""Levels of compatibility and modes, of the whole registry and of single subjects."""

from __future__ import annotations

from fastapi import APIRouter

from qmtl.foundation.schema.registry.contract import SchemaRegistry
from qmtl.services.registry.bodies import LevelBody, ModeBody
from qmtl.services.registry.parameters import No, Subject
from qmtl.services.registry.routes import refused
from qmtl.services.registry.wire import Answer, LevelAnswer, ModeAnswer, NewLevelAnswer


def level_routes(registry: SchemaRegistry) -> APIRouter:
    router = APIRouter(prefix="/config", tags=["config"], default_response_class=Answer)

    @router.get("", response_model=LevelAnswer)
    def level() -> Answer:
        """The global level."""
        return Answer({"compatibilityLevel": registry.level()})

    @router.put("", response_model=NewLevelAnswer, responses=refused(422))
    def set_level(body: LevelBody) -> Answer:
        """Sets the global level."""
        return Answer({"compatibility": registry.set_level(body.compatibility)})

    @router.delete("", response_model=LevelAnswer, responses=refused(404, 422))
    def clear_level() -> Answer:
        """Back to BACKWARD; the level before."""
        return Answer({"compatibilityLevel": registry.clear_level()})

    @router.get("/{subject:segment}", response_model=LevelAnswer, responses=refused(404, 422))
    def level_of(subject: Subject, defaultToGlobal: No = False) -> Answer:
        """The subject's own level."""
        return Answer({"compatibilityLevel": registry.level(subject, or_global=defaultToGlobal)})

    @router.put("/{subject:segment}", response_model=NewLevelAnswer, responses=refused(422))
    def set_level_of(subject: Subject, body: LevelBody) -> Answer:
        """Sets the subject's own level."""
        return Answer({"compatibility": registry.set_level(body.compatibility, subject)})

    @router.delete("/{subject:segment}", response_model=LevelAnswer, responses=refused(404, 422))
    def clear_level_of(subject: Subject) -> Answer:
        """Back to the global level; the level before."""
        return Answer({"compatibilityLevel": registry.clear_level(subject)})

    return router


def mode_routes(registry: SchemaRegistry) -> APIRouter:
    router = APIRouter(prefix="/mode", tags=["mode"], default_response_class=Answer)

    @router.get("", response_model=ModeAnswer)
    def mode() -> Answer:
        """The global mode."""
        return Answer({"mode": registry.mode()})

    @router.put("", response_model=ModeAnswer, responses=refused(422))
    def set_mode(body: ModeBody, force: No = False) -> Answer:
        """Sets the global mode."""
        return Answer({"mode": registry.set_mode(body.mode, force=force)})

    @router.delete("", response_model=ModeAnswer, responses=refused(404, 422))
    def clear_mode() -> Answer:
        """Back to READWRITE; the mode before."""
        return Answer({"mode": registry.clear_mode()})

    @router.get("/{subject:segment}", response_model=ModeAnswer, responses=refused(404, 422))
    def mode_of(subject: Subject, defaultToGlobal: No = False) -> Answer:
        """The subject's own mode."""
        return Answer({"mode": registry.mode(subject, or_global=defaultToGlobal)})

    @router.put("/{subject:segment}", response_model=ModeAnswer, responses=refused(422))
    def set_mode_of(subject: Subject, body: ModeBody, force: No = False) -> Answer:
        """Sets the subject's own mode."""
        return Answer({"mode": registry.set_mode(body.mode, subject, force=force)})

    @router.delete("/{subject:segment}", response_model=ModeAnswer, responses=refused(404, 422))
    def clear_mode_of(subject: Subject) -> Answer:
        """Back to the global mode; the mode before."""
        return Answer({"mode": registry.clear_mode(subject)})

    return router
