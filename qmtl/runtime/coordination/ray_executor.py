"""Ray as an executor: tasks of one cluster, behind the interface of Python's own pools."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

from qmtl.foundation.errors import MissingDependencyError

T = TypeVar("T")


class RayExecutor(Executor):
    """Tasks of the Ray cluster that this process has joined (`ray.init(...)`), which stays with the caller.

    A task that is lost with its worker is an error of its future: whoever hands tasks out does them again.
    What a task raises is raised as it was there. Needs `qmtl[ray]`.
    """

    def __init__(self) -> None:
        self._ray = needed_ray()
        # Ray would do a lost task again by itself, and say nothing of it.
        self._call = self._ray.remote(max_retries=0)(_called)
        self._closed = False

    def submit(self, fn: Callable[..., T], /, *args: Any, **options: Any) -> Future[T]:
        """Raises `RuntimeError` after `shutdown`."""
        if self._closed:
            raise RuntimeError("this executor was shut down")
        future: Future[T] = Future()
        asked = self._call.remote(fn, args, options)

        def ended(done: Future[T]) -> None:
            if not future.set_running_or_notify_cancel():
                return
            error = done.exception()
            if error is None:
                future.set_result(done.result())
            else:
                future.set_exception(getattr(error, "cause", None) or error)

        def cancelled(mine: Future[T]) -> None:
            if mine.cancelled():
                self._ray.cancel(asked)

        future.add_done_callback(cancelled)
        asked.future().add_done_callback(ended)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more tasks. The cluster goes on, and with it what it does."""
        self._closed = True


def needed_ray() -> Any:
    """The library. Raises `MissingDependencyError`."""
    try:
        import ray
    except ImportError as missing:
        raise MissingDependencyError("ray", extra="ray") from missing
    return ray


def _called(fn: Callable[..., T], args: tuple[Any, ...], options: dict[str, Any]) -> T:
    return fn(*args, **options)
