"""In the process of an isolated strategy: it is loaded, given bars, and says what came of them."""

from __future__ import annotations

import json
import pickle
import sys
import traceback
from collections.abc import Mapping
from functools import reduce
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from qmtl.foundation.errors import QmtlError
from qmtl.runtime.replay.budget import OverBudget
from qmtl.runtime.replay.readers import Reader
from qmtl.runtime.replay.run import Run
from qmtl.runtime.sdk.isolation.messages import error_values, input_values, outcome_message
from qmtl.runtime.sdk.isolation.pipe import receive, send
from qmtl.runtime.sdk.look_ahead import isolate, playing, running
from qmtl.runtime.sdk.strategy import Strategy, inputs_of, listens, nodes_of, weights_of
from qmtl.runtime.sdk.strategy_check import check_strategy
from qmtl.runtime.sdk.strategy_check import made as instance_of
from qmtl.runtime.sdk.strategy_files import module_of_file, strategy_of_file
from qmtl.runtime.sdk.watchdog import Calls, watched


def serve(order: Mapping[str, Any], source: BinaryIO, to: BinaryIO) -> None:
    """Until the run ends, or the other side is gone."""
    isolate()
    try:
        strategy = _strategy(order)
        inputs = [input_values(one) for one in inputs_of(strategy)]
        check_strategy(strategy)
        _say(to, {"class": type(strategy).__qualname__, "inputs": inputs})
        _play(strategy, source, to)
    except EOFError:
        pass  # the run has ended, or failed, on the other side
    except QmtlError as error:
        cause = error.__cause__
        trace = "" if cause is None else "".join(traceback.format_exception(cause))
        _say(to, {"error": error_values(error, trace)})


def _play(strategy: Strategy, source: BinaryIO, to: BinaryIO) -> None:
    inputs, grids, model, options, budget, seed = pickle.loads(receive(source))
    strategy.__dict__["random"] = np.random.default_rng(seed)
    calls = Calls()
    readers = []
    for name, series, window in inputs:
        nodes = {one.name: one.value for one in nodes_of(strategy) if one.source.name == name}
        readers.append(Reader(name, series, window, calls.counted(nodes)))
    run = Run(
        strategy, readers, grids, model,
        weights=weights_of(strategy), listens=listens(strategy), **options,
    )  # fmt: skip
    strategy.__dict__["_run"] = run
    with running():
        while message := receive(source):
            part, until = pickle.loads(message)
            try:
                with watched(budget, lambda: (run.now, calls.count)), playing(()):
                    run.play(part, until)
            except OverBudget:
                _say(to, {"over_budget": run.now})
                return
            _say(to, {"now": run.now})
    sys.stdout.flush()
    send(to, outcome_message(run.outcome))


def _strategy(order: Mapping[str, Any]) -> Strategy:
    if order["file"] is not None:
        made = strategy_of_file(order["file"])
    else:
        module = module_of_file(Path(order["source"]), order["module"])
        if order["is_main"]:
            sys.modules["__main__"] = module  # of the parameters of an instance
        made = reduce(getattr, order["class"].split("."), cast(Any, module))
    if order["state"] is None:
        return cast(Strategy, instance_of(made, {}))
    strategy = made.__new__(made)
    strategy.__dict__.update(pickle.loads(bytes.fromhex(order["state"])))
    return strategy


def _say(to: BinaryIO, values: Mapping[str, Any]) -> None:
    sys.stdout.flush()  # the process may be ended once it has spoken
    send(to, json.dumps(values).encode())
