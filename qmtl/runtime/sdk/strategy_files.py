"""Strategies of files: `FILE.py`, or `FILE.py:Class` where a file has several."""

from __future__ import annotations

import sys
import traceback
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from qmtl.foundation.errors import InvalidRequestError
from qmtl.runtime.sdk.strategy import Strategy


def strategy_of_file(text: str) -> type[Strategy]:
    """The class of a strategy.

    text: `cross.py`, which defines exactly one, or `cross.py:Cross`. Raises `InvalidRequestError` where there
    is none, or the file cannot be run.
    """
    path, name = file_of(text)
    module = module_of_file(path)
    defined = {
        key: value
        for key, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, Strategy) and value.__module__ == module.__name__
    }
    if name:
        if name not in defined:
            raise InvalidRequestError(
                f"{path} has no strategy {name!r}", next_step=f"use one of {', '.join(defined) or 'none'}"
            )
        return defined[name]
    if len(defined) != 1:
        raise InvalidRequestError(
            f"{path} has {len(defined)} strategies" if defined else f"{path} has no strategy",
            next_step=f"name one: {path}:{next(iter(defined))}"
            if defined
            else "define a subclass of qmtl.Strategy in it",
        )
    return next(iter(defined.values()))


def file_of(text: str) -> tuple[Path, str]:
    """The file, and the name of the class in it, or nothing."""
    file, _, name = text.partition(".py:")
    return Path(f"{file}.py" if name else text), name


def module_of_file(path: Path, name: str | None = None) -> ModuleType:
    """The module of a file, which is run. Raises `InvalidRequestError`."""
    if not path.is_file():
        raise InvalidRequestError(
            f"there is no file {path}", next_step="name a file of Python, such as cross.py or cross.py:Cross"
        )
    # A name that no import has, so that a strategy in `json.py` takes nobody's place.
    name = path.name if name is None else name
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InvalidRequestError(f"{path} is no file of Python", next_step="its name ends with .py")
    module = module_from_spec(spec)
    folder = str(path.resolve().parent)
    sys.path.append(folder)  # after all others: what lies beside it takes the place of no package
    sys.modules[name] = module  # Python finds the source of a class by its module
    try:
        spec.loader.exec_module(module)
    except Exception as cause:  # what a user's file raises is named with its line
        lines = [
            frame.lineno
            for frame in traceback.extract_tb(cause.__traceback__)
            if Path(frame.filename).resolve() == path.resolve()
        ]
        where = f"line {lines[-1]}: " if lines else ""
        raise InvalidRequestError(
            f"{path} cannot be run", why=f"{where}{type(cause).__name__}: {cause}", next_step="correct it"
        ) from cause
    finally:
        sys.path.remove(folder)
    return module
