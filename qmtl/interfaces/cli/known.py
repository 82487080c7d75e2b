"""A series that the store does not know is most often a name that was mistyped: every command says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qmtl.foundation.series import SeriesId
    from qmtl.runtime.io.store.contract import Store


def check_known(store: Store, series: SeriesId) -> None:
    """Raises `InvalidRequestError` if the store has nothing of a series, and had nothing."""
    from qmtl.foundation.errors import InvalidRequestError

    # Commits may all be older than the retention; what they left behind is listed.
    if store.commits(series) or any(known.series == series for known in store.list_series()):
        return
    raise InvalidRequestError(
        "the store has no commit of this series",
        series=series,
        next_step="'qmtl store info' lists what it has",
    )
