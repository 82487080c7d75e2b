"""Which executor a text names: processes of this machine, a Dask scheduler, or a Ray cluster."""

from __future__ import annotations

import logging
import multiprocessing
import re
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from difflib import get_close_matches

from qmtl.foundation.errors import InvalidRequestError, MissingDependencyError, SourceUnavailableError
from qmtl.runtime.coordination.engine_runs import process_pool
from qmtl.runtime.coordination.ray_executor import RayExecutor, needed_ray

FORMS = {"processes": "processes:2", "dask": "dask://HOST:8786", "ray": "ray://HOST:10001"}
_MOST_PROCESSES = 1_000
_CONNECT_S = 15.0
_ADDRESS = re.compile(r"(dask|ray)://([^\s/:]+|\[[0-9a-fA-F:]+\]):([0-9]{1,5})")


@contextmanager
def engine_on(text: str) -> Iterator[Executor]:
    """The executor of a text such as those in `FORMS`, for as long as the context lasts.

    Raises `InvalidRequestError` for any other text, `MissingDependencyError`, and `SourceUnavailableError`
    where nobody answers.
    """
    if (processes := re.fullmatch(r"processes:([0-9]{1,9})", text)) is not None:
        count = int(processes[1])
        if not 1 <= count <= _MOST_PROCESSES:
            raise InvalidRequestError(
                f"{text!r} is no number of processes from 1 to {_MOST_PROCESSES:,}",
                next_step=f"give one for each core, such as processes:{multiprocessing.cpu_count()}",
            )
        engine = _processes(count)
    elif (address := _ADDRESS.fullmatch(text)) is not None and int(address[3]) < 1 << 16:
        engine = _dask(text) if address[1] == "dask" else _ray(text)
    else:
        raise _no_engine(text)
    with engine as executor:
        yield executor


def _no_engine(text: str) -> InvalidRequestError:
    near = get_close_matches(text.partition(":")[0].strip().lower(), FORMS, n=1)
    forms = [FORMS[near[0]]] if near else list(FORMS.values())
    return InvalidRequestError(
        f"{text!r} names no engine",
        next_step=f"write it as {', '.join(forms[:-1])}{' or ' * (len(forms) > 1)}{forms[-1]}",
    )


@contextmanager
def _processes(count: int) -> Iterator[Executor]:
    """A caller who leaves early does not wait for what processes are at: what they committed stays."""
    before = multiprocessing.active_children()
    pool = process_pool(count)
    try:
        yield pool
    except BaseException:
        for child in multiprocessing.active_children():
            if child not in before:
                child.terminate()
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()


@contextmanager
def _dask(text: str) -> Iterator[Executor]:
    try:
        from distributed import Client
    except ImportError as missing:
        raise MissingDependencyError("distributed", extra="dask") from missing
    try:
        client = Client(text.replace("dask://", "tcp://", 1), timeout=_CONNECT_S, set_as_default=False)
    except OSError as error:  # a time-out is one, too
        raise _nobody(
            text, error, "start one with 'dask scheduler', and workers with 'dask worker'"
        ) from error
    with client:
        yield client.get_executor()


@contextmanager
def _ray(text: str) -> Iterator[Executor]:
    ray = needed_ray()
    logging.getLogger("ray").setLevel(logging.WARNING)  # it tells of each step of connecting
    try:
        context = ray.init(address=text)
    except (ConnectionError, TimeoutError) as error:
        raise _nobody(
            text, error, "start one with 'ray start --head --ray-client-server-port=10001'"
        ) from error
    with context:
        yield RayExecutor()


def _nobody(text: str, error: Exception, next_step: str) -> SourceUnavailableError:
    return SourceUnavailableError(
        f"nobody answers at {text}",
        source=text,
        why=f"{type(error).__name__}: {error}".splitlines()[0],
        next_step=next_step,
    )
