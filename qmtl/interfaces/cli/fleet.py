"""What commands need of a coordinator: which one, and how its client is used by a command."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from qmtl.interfaces.cli.session import Session

if TYPE_CHECKING:
    from qmtl.runtime.coordination.coordinator_client import CoordinatorClient

T = TypeVar("T")


def coordinator_of(session: Session) -> tuple[str, str | None]:
    """Its URL and token, as the settings say. Raises `InvalidRequestError` where there is none."""
    from qmtl.foundation.errors import InvalidRequestError
    from qmtl.runtime.coordination.coordinator_address import checked_url

    seamless = session.settings().seamless
    if seamless.coordinator_url is None:
        raise InvalidRequestError(
            "no coordinator is named",
            why="jobs and workers are kept by one",
            next_step="set `seamless.coordinator_url` in qmtl.yml, or QMTL_SEAMLESS_COORDINATOR_URL; "
            "'qmtl serve coordinator' is one",
        )
    token = seamless.coordinator_token
    return checked_url(str(seamless.coordinator_url)), None if token is None else token.get_secret_value()


def asked(session: Session, ask: Callable[[CoordinatorClient], Awaitable[T]]) -> T:
    """What the coordinator answers."""
    import asyncio

    from qmtl.runtime.coordination.coordinator_client import CoordinatorClient

    client = CoordinatorClient(*coordinator_of(session))

    async def run() -> T:
        try:
            return await ask(client)
        finally:
            await client.close()

    return asyncio.run(run())
