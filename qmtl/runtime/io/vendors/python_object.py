"""A vendor from one's own code, by an import path or by the name of an entry point."""

from __future__ import annotations

import inspect
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, cast

from qmtl.foundation.errors import InvalidRequestError, QmtlError
from qmtl.foundation.spelling import near
from qmtl.runtime.io.vendors.base import Vendor

# The group in which a package announces its vendors, in its own pyproject.toml.
GROUP = "qmtl.vendors"

_FORM = "write `object` as 'package.module:name', or as the name of an entry point"


def vendor_of_object(name: str, options: Mapping[str, Any], folder: Path | None = None) -> Vendor:
    """The vendor that `name` stands for.

    name: `package.module:attribute`, or the name of an entry point of the group `qmtl.vendors`. It is a
        vendor, or a class or function that gives one when it is called with `options`.
    folder: searched for modules after all others, so that nothing in it can take the place of a package.

    Raises `InvalidRequestError` that says what could not be imported or called, and why; errors of this
    package that the code raises itself pass as they are.
    """
    if folder is not None and str(folder) not in sys.path:
        sys.path.append(str(folder))
    found = _imported(name, folder) if ":" in name else _announced(name)
    if inspect.isclass(found) or not hasattr(found, "pages"):
        found = _called(found, name, options)
    elif options:
        raise InvalidRequestError(
            f"`options=` cannot be used: {name} is a vendor already",
            why="options are handed to a class or function that makes one",
            next_step="leave out options, or name what makes the vendor",
        )
    if not callable(getattr(found, "pages", None)):
        raise InvalidRequestError(
            f"`object=` {name} gives no vendor",
            why=f"it is {_described(found)}, which has no method pages(series, span)",
            next_step="see the guide on vendors of your own: a vendor is any object with that method",
        )
    return cast(Vendor, found)


def _imported(name: str, folder: Path | None) -> Any:
    module_name, _, path = name.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), *path.split("."))):
        raise InvalidRequestError(f"`object=` {name!r} is no import path", next_step=_FORM)
    try:
        found = _done(f"importing {module_name}", partial(import_module, module_name))
    except InvalidRequestError as failure:
        error = failure.__cause__
        if not isinstance(error, ModuleNotFoundError) or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        where = "the installed packages" + ("" if folder is None else f" and {folder}")
        raise InvalidRequestError(
            f"`object=` {name!r}: there is no module {error.name}",
            why=f"it was looked for in {where}, and in PYTHONPATH",
            next_step=f"install the package, or put its folder beside the settings; {_FORM}",
        ) from error
    for part in path.split("."):
        if not hasattr(found, part):
            raise InvalidRequestError(
                f"`object=` {name!r}: {_described(found)} has no {part!r}",
                next_step=_did_you_mean(part, vars(found)) or "check the name after the colon",
            )
        found = getattr(found, part)
    return found


def _announced(name: str) -> Any:
    all_of_them = entry_points(group=GROUP)
    fitting = list({point.value: point for point in all_of_them if point.name == name}.values())
    if not fitting:
        known = sorted(all_of_them.names)
        raise InvalidRequestError(
            f"`object=` {name!r} is no entry point of the group {GROUP}",
            why=f"there are {', '.join(known)}" if known else "no installed package has any",
            next_step=_did_you_mean(name, known) or _FORM,
        )
    if len(fitting) > 1:
        raise InvalidRequestError(
            f"`object=` {name!r} is an entry point of {len(fitting)} packages",
            why=", ".join(f"{_package(point)} has {point.value}" for point in fitting),
            next_step="write the import path of the one that is meant",
        )
    return _done(f"importing the entry point {name} ({fitting[0].value})", fitting[0].load)


def _called(make: Any, name: str, options: Mapping[str, Any]) -> Any:
    if not callable(make):
        raise InvalidRequestError(
            f"`object=` {name} is {_described(make)}",
            why="it is neither a vendor nor something that makes one",
            next_step="name a class, a function or an object with the method pages(series, span)",
        )
    if inspect.iscoroutinefunction(make):
        raise InvalidRequestError(
            f"`object=` {name} is a coroutine function",
            why="a vendor is made without waiting; it may open its connections in pages(...)",
            next_step="write it with `def`",
        )
    try:
        signature = inspect.signature(make)
    except (TypeError, ValueError):  # some callables of C have none that can be read
        signature = None
    if signature is not None:
        try:
            signature.bind(**options)
        except TypeError as error:
            raise InvalidRequestError(
                f"`options=` do not fit {name}: {error}",
                why=f"it takes {signature}",
                next_step="give the options that it takes, by their names",
            ) from error
    return _done(f"calling {name}", partial(make, **options))


def _done(what: str, work: Callable[[], Any]) -> Any:
    """Run code of others. Raises `InvalidRequestError` with the place of whatever it raises."""
    try:
        return work()
    except QmtlError:
        raise
    except Exception as error:  # it may raise anything, when it is imported as when it is called
        frame = traceback.extract_tb(error.__traceback__)[-1]
        raise InvalidRequestError(
            f"`object=` {what} failed",
            why=f"{type(error).__name__}: {error}, in {frame.filename}, line {frame.lineno}",
            next_step="correct that code; `qmtl -v` shows the whole traceback",
        ) from error


def _described(found: Any) -> str:
    if inspect.ismodule(found):
        return f"the module {found.__name__}"
    if inspect.isclass(found):
        return f"the class {found.__name__}"
    return f"an object of type {type(found).__name__}"


def _did_you_mean(typed: str, known: Iterable[str]) -> str | None:
    alike = near(typed, known)
    return f"did you mean {' or '.join(alike)}?" if alike else None


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "a package"
