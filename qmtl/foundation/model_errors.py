"""What pydantic found wrong with a file, in our words: the place, the key, and the nearest name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from qmtl.foundation.config_text import ConfigText
from qmtl.foundation.errors import InvalidRequestError, SettingsError


def model_error(error: ValidationError, text: ConfigText, model: type[BaseModel]) -> SettingsError:
    """The first problem of `text` as a `model`; a mistyped key comes before a missing one."""
    problems = error.errors(include_url=False)
    problem = next((each for each in problems if each["type"] == "extra_forbidden"), problems[0])
    place = text.place(problem["loc"])
    key = place.key
    cause = problem.get("ctx", {}).get("error")
    if problem["type"] == "extra_forbidden":
        *parents, last = place.keys
        near = get_close_matches(str(last), _keys_at(parents, text, model), n=1)
        known = ", ".join(_keys_at(parents, text, model))
        return SettingsError(
            f"{place}: the key {key!r} is not known",
            next_step=f"did you mean {near[0]!r}?" if near else f"known here are {known}",
        )
    if problem["type"] == "missing":
        return SettingsError(f"{place}: {key!r} needs {problem['loc'][-1]!r}", next_step="add that key")
    if isinstance(cause, InvalidRequestError):
        return SettingsError(f"{place}: {key!r}: {cause.what}", why=cause.why, next_step=cause.next_step)
    why = str(cause) if cause is not None else problem["msg"]
    return SettingsError(
        f"{place}: the value of {key!r} cannot be used", why=why, next_step="correct it, or leave it out"
    )


def _keys_at(parents: Iterable[str | int], text: ConfigText, root: type[BaseModel]) -> list[str]:
    """The keys that are known at a place of the file."""
    annotation: Any = root
    data: Any = text.data
    for step in parents:
        if isinstance(step, str):
            annotation = fields_of(_chosen(annotation, data))[step].annotation
        data = data[step]
    return list(fields_of(_chosen(annotation, data)))


def _chosen(annotation: Any, data: Any) -> Any:
    """Of several models, the one whose `kind` the data names; else the first."""
    models = _models_in(annotation)
    kind = data.get("kind") if isinstance(data, Mapping) else None
    return next(
        (m for m in models if len(models) > 1 and kind in get_args(m.model_fields["kind"].annotation)),
        models[0] if models else annotation,
    )


def _models_in(annotation: Any) -> list[Any]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def fields_of(annotation: Any) -> dict[str, FieldInfo]:
    """The fields of a section, by the keys that a file has for them."""
    models = _models_in(annotation)
    found = models[0].model_fields if models else {}
    return {field.alias or name: field for name, field in found.items()}
