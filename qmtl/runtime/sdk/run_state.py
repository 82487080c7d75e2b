"""The file in which a run is kept from time to time, so that one that was stopped goes on from there.

A line of JSON says which run it is of, and is followed by what Python pickles of it. As with any pickle, a
file that somebody else may have written is not to be read. It is replaced as a whole, or not at all.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import sys
import tempfile
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from blake3 import blake3

from qmtl.foundation.errors import InvalidRequestError
from qmtl.runtime.replay.orders import FillModel
from qmtl.runtime.sdk.proof import ReadRange, package_versions, strategy_name
from qmtl.runtime.sdk.source_text import source_hash
from qmtl.runtime.sdk.strategy import Strategy

FORMAT = 1


class Place(NamedTuple):
    """What is played next: a piece of a part."""

    part: int
    piece: int


class RunState(NamedTuple):
    """A run as it was kept, before `place`. run, strategy: their own values. read: of the parts before."""

    place: Place
    run: Mapping[str, Any]
    strategy: Mapping[str, Any]
    read: Sequence[ReadRange]


class Header(NamedTuple):
    """What a run goes on with: the commit times of what it reads, by node id, and its end (int ns UTC)."""

    as_of: Mapping[str, int]
    end: int


def identity_of(strategy: Strategy, model: FillModel, **submitted: Any) -> dict[str, Any]:
    """What two runs have in common if one can go on where the other stopped; JSON values."""
    kind = type(strategy)
    source = source_hash(kind)
    return {
        "strategy": strategy_name(kind),
        "source": source,
        "module": source and source_hash(sys.modules[kind.__module__]),  # as in a proof
        "fills": dataclasses.asdict(model),
        **submitted,
        "attributes": {
            name: _digest(_pickled(strategy_name(kind), value)) for name, value in vars(strategy).items()
        },
        "versions": package_versions(),
    }


class StateFile:
    """The file of a run, or that of one that has not begun.

    found: the header of what is kept there; None where there is no file. Raises `InvalidRequestError` for a
    file of another run, and for what is no such file.
    """

    def __init__(self, path: str | PathLike[str], identity: Mapping[str, Any]) -> None:
        self.path = Path(path)
        self._identity = identity
        self._payload = b""
        self.found = self._header()

    def _header(self) -> Header | None:
        try:
            line, _, payload = self.path.read_bytes().partition(b"\n")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unusable("cannot be read", str(error)) from error
        try:
            values = json.loads(line)
            known, digest, as_of, end = (values[name] for name in ("identity", "digest", "as_of", "end"))
            of_format = values["format"]
        except (ValueError, KeyError, TypeError) as error:
            raise self._unusable("is no state of a run", f"{type(error).__name__}: {error}") from error
        if of_format != FORMAT:
            raise self._unusable(f"has the format {of_format!r}", f"this version reads the format {FORMAT}")
        if digest != _digest(payload):
            raise self._unusable("is damaged", "its content does not have the hash that it names")
        now = json.loads(json.dumps(self._identity))
        differing = [name for name, value in now.items() if known.get(name) != value]
        if differing:
            raise self._unusable(
                "is of another run",
                "; ".join(f"{name}: {known.get(name)} there, {now[name]} now" for name in differing),
            )
        self._payload = payload
        return Header(as_of, end)

    def state(self) -> RunState | None:
        """What is kept there; None where there was no file."""
        if not self._payload:
            return None
        try:
            state: RunState = pickle.loads(self._payload)
        except (pickle.UnpicklingError, AttributeError, ImportError, EOFError, TypeError) as error:
            raise self._unusable("cannot be taken up", f"{type(error).__name__}: {error}") from error
        return state

    def write(self, header: Header, state: RunState) -> None:
        """Replace the file. Raises `InvalidRequestError` where the strategy has what cannot be kept."""
        payload = _pickled(self._identity["strategy"], state)
        values = {
            "format": FORMAT,
            "identity": self._identity,
            "digest": _digest(payload),
            **header._asdict(),
        }
        self._replace(json.dumps(values).encode() + b"\n" + payload)

    def _replace(self, content: bytes) -> None:
        try:
            handle, name = tempfile.mkstemp(
                prefix=f".{self.path.name}.", suffix=".part", dir=self.path.parent
            )
        except OSError as error:
            raise self._unusable("cannot be written", str(error)) from error
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, self.path)
        except OSError as error:
            Path(name).unlink(missing_ok=True)
            raise self._unusable("cannot be written", str(error)) from error

    def _unusable(self, what: str, why: str) -> InvalidRequestError:
        return InvalidRequestError(
            f"the state {self.path} {what}",
            why=why,
            next_step="name another file as `resume`, or delete this one to begin again",
        )


def _digest(payload: bytes) -> str:
    return f"blake3:{blake3(payload).hexdigest()}"


def _pickled(name: str, value: Any) -> bytes:
    try:
        return pickle.dumps(value)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise InvalidRequestError(
            f"a run of {name} cannot be kept",
            why=str(error),
            next_step="have the strategy keep plain values, or run it without `resume=`",
        ) from error
