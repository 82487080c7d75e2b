"""A strategy in a process of its own, which is fed with bars and can read nothing else."""

from __future__ import annotations

import ast
import inspect
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

from qmtl.foundation.errors import InvalidRequestError, StrategyError
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.foundation.times import LATEST
from qmtl.runtime.replay.budget import OverBudget
from qmtl.runtime.replay.orders import FillModel
from qmtl.runtime.replay.run import Outcome, Part
from qmtl.runtime.sdk.bound_inputs import BoundInput
from qmtl.runtime.sdk.isolation import sandbox
from qmtl.runtime.sdk.isolation.messages import error_of, input_of, outcome_of
from qmtl.runtime.sdk.isolation.pipe import receive, send
from qmtl.runtime.sdk.isolation.reach import Reach, reach_of
from qmtl.runtime.sdk.source_text import parsed
from qmtl.runtime.sdk.strategy import Strategy
from qmtl.runtime.sdk.strategy_files import file_of

_BEGIN = (
    "import sys; sys.path.append({root!r}); from qmtl.runtime.sdk.isolation.child import main; main({}, {})"
)


class IsolatedRun:
    """A run in another process; `play` and `outcome` are as those of `Run`."""

    def __init__(self, process: StrategyProcess) -> None:
        self._process = process
        self.now = 0

    def play(self, part: Part, until: int = LATEST) -> None:
        """Raises what the strategy's side raised, `OverBudget` too."""
        plain = part._replace(rows=dict(part.rows), known=dict(part.known))  # a mapping proxy has no pickle
        self._process.tell(pickle.dumps((plain, until)))
        self.now = self._heard()["now"]

    @property
    def outcome(self) -> Outcome:
        self._process.tell(b"")
        return outcome_of(self._process.hear(self.now))

    def _heard(self) -> dict[str, Any]:
        answer = self._process.answer(self.now)
        if "over_budget" in answer:
            self.now = answer["over_budget"]
            raise OverBudget
        return answer


class StrategyProcess:
    """The process that has a strategy, and what it can read."""

    def __init__(
        self, process: subprocess.Popen[bytes], to: BinaryIO, source: BinaryIO, reach: Reach
    ) -> None:
        self._process, self._to, self._source = process, to, source
        self.reach = reach

    def run(
        self,
        inputs: Sequence[BoundInput],
        grids: Mapping[SeriesId, Grid],
        model: FillModel,
        *,
        start: int,
        spare: Mapping[SeriesId, int],
        budget: float | None,
        seed: int,
    ) -> IsolatedRun:
        readers = [(one.name, one.series, one.window) for one in inputs]
        options = {"start": start, "spare": dict(spare)}
        try:
            message = pickle.dumps((readers, dict(grids), model, options, budget, seed))
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise InvalidRequestError(
                "a calendar of the run cannot be handed to the process of the strategy",
                why=str(error),
                next_step="define its class at the top of a module",
            ) from error
        self.tell(message)
        return IsolatedRun(self)

    def tell(self, message: bytes) -> None:
        with suppress(BrokenPipeError):  # why it has ended is heard with the answer
            send(self._to, message)

    def hear(self, now: int) -> bytes:
        """The next message. now: what the strategy had come to (int ns UTC), for an error."""
        try:
            return receive(self._source)
        except EOFError:
            code = self._process.wait()
            ended = f"by signal {-code}" if code < 0 else f"with exit code {code}"
            raise StrategyError(
                f"the process of the strategy ended {ended}",
                next_step="run it without `isolate=True` to see where",
                bar_ts=now,
            ) from None

    def answer(self, now: int) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.hear(now))
        if "error" in answer:
            raise error_of(answer["error"])
        if "refused" in answer:
            raise _not_possible(answer["refused"])
        return answer

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._source, self._to):
            with suppress(BrokenPipeError):  # what it had not read yet
                pipe.close()


@contextmanager
def isolated(strategy: Strategy | type[Strategy] | str) -> Iterator[tuple[Strategy, StrategyProcess]]:
    """A strategy in a process of its own, and what stands for it here: it has its name, source and inputs.

    Raises `InvalidRequestError` where this system cannot do it, and for a strategy that no file has.
    """
    if reason := sandbox.why_not():
        raise _not_possible(reason)
    order, source = _order(strategy)
    reach = reach_of(source)
    order |= {"readable": reach.readable, "listed": reach.listed, "path": [p for p in sys.path if p]}
    process, to, answers = _started()
    other = StrategyProcess(process, to, answers, reach)
    try:
        other.tell(json.dumps(order).encode())
        yield _stand_in(strategy, source, other.answer(0)), other
    finally:
        other.close()


def _started() -> tuple[subprocess.Popen[bytes], BinaryIO, BinaryIO]:
    """A process that waits for its order, and the pipes to it and from it."""
    (read_here, write_there), (read_there, write_here) = os.pipe(), os.pipe()
    to, answers = os.fdopen(write_here, "wb"), os.fdopen(read_here, "rb")
    root = os.path.dirname(os.path.dirname(sys.modules["qmtl"].__file__ or ""))
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", _BEGIN.format(read_there, write_there, root=root)],
            stdin=subprocess.DEVNULL,
            pass_fds=(read_there, write_there),
            start_new_session=True,  # Ctrl-C is for this process, which ends the other
        )
    except BaseException:
        to.close()
        answers.close()
        raise
    finally:
        os.close(read_there)
        os.close(write_there)
    return process, to, answers


def _order(strategy: Strategy | type[Strategy] | str) -> tuple[dict[str, Any], Path]:
    """What the process is told of the strategy, and the file of its source."""
    order: dict[str, Any] = {"file": None, "source": None, "module": None, "class": None, "state": None}
    order["is_main"] = False
    if isinstance(strategy, str):
        source = file_of(strategy)[0]
        return order | {"file": strategy, "module": source.name, "source": str(source)}, source
    kind = strategy if isinstance(strategy, type) else type(strategy)
    if not issubclass(kind, Strategy):
        raise InvalidRequestError(
            f"{strategy!r} is no strategy",
            next_step="give a subclass of qmtl.Strategy, an instance of one, or the file of one",
        )
    file = _file_of_class(kind)
    if file is None or "<locals>" in kind.__qualname__:
        raise InvalidRequestError(
            f"{kind.__qualname__} cannot be isolated",
            why="its process has to find it at the top of a file of Python",
            next_step="write it into a file, at the top level",
        )
    is_main = kind.__module__ == "__main__"
    order |= {
        "source": file,
        "module": "__mp_main__" if is_main else kind.__module__,
        "is_main": is_main,
        "class": kind.__qualname__,
    }
    if not isinstance(strategy, type):
        try:
            order["state"] = pickle.dumps(vars(strategy)).hex()
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise InvalidRequestError(
                f"an instance of {kind.__qualname__} cannot be handed to its process",
                why=str(error),
                next_step="give the class, or parameters that can be pickled",
            ) from error
    return order, Path(file)


def _file_of_class(kind: type) -> str | None:
    try:
        file = inspect.getsourcefile(kind)
    except TypeError:  # typed at a prompt
        return None
    return file if file is not None and os.path.isfile(file) else None


def _stand_in(
    strategy: Strategy | type[Strategy] | str, source: Path, declared: Mapping[str, Any]
) -> Strategy:
    """A strategy that declares the same inputs, and has the same name and source; it does nothing."""
    name = declared["class"]
    attributes: dict[str, Any] = {one["name"]: input_of(one) for one in declared["inputs"]}
    if isinstance(strategy, str):
        module = source.name
        attributes["__firstlineno__"] = _first_line(source, name)
        # So that Python finds the source of the class without running it.
        if getattr(sys.modules.get(module), "__file__", None) != str(source):
            sys.modules[module] = ModuleType(module)
            sys.modules[module].__file__ = str(source)
    else:
        kind = strategy if isinstance(strategy, type) else type(strategy)
        module = kind.__module__
        attributes["__firstlineno__"] = vars(kind).get("__firstlineno__")
    attributes |= {"__module__": module, "__qualname__": name}
    made: Strategy = type(name.rpartition(".")[2], (Strategy,), attributes)()
    return made


def _first_line(source: Path, name: str) -> int | None:
    """Where the text of a class begins; Python 3.13 keeps it with each class, and looks nowhere else."""
    for one in parsed(source).body:
        if isinstance(one, ast.ClassDef) and one.name == name:
            return min([one.lineno, *(decorator.lineno for decorator in one.decorator_list)])
    return None


def _not_possible(reason: str) -> InvalidRequestError:
    return InvalidRequestError(
        "a strategy cannot be isolated on this system",
        why=reason,
        next_step="leave out `isolate=True`: it is guarded within this process then",
    )
