"""The provider for desks that keep their bars in QuestDB."""

from __future__ import annotations

from typing import Any

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.local_paths import names_questdb
from qmtl.foundation.questdb_address import QuestDBAddress
from qmtl.runtime.io.questdb.store import QuestDBStore
from qmtl.runtime.sdk.provider import SeamlessDataProvider


class EnhancedQuestDBProvider(SeamlessDataProvider):
    """A `SeamlessDataProvider` on a store whose rows lie in QuestDB, and on no other.

    store: its address, such as questdb://host:9000?catalog=FOLDER or with catalog=postgresql://...; or such a
        store that is open already. All that may follow is as for `SeamlessDataProvider`.

    What it gives has been through the conformance pipeline: frames that conform are given, warnings and
    errors raise `ConformancePipelineError`, and with `partial_ok=True` the normalised frame comes with them
    in its report, which is `last_conformance_report` as well.

    Raises `InvalidRequestError` for any other store.
    """

    def __init__(self, store: str | QuestDBAddress | QuestDBStore, *given: Any, **options: Any) -> None:
        is_in_questdb = isinstance(store, QuestDBAddress | QuestDBStore)
        if not (is_in_questdb or (isinstance(store, str) and names_questdb(store))):
            raise InvalidRequestError(
                "the rows of this store do not lie in QuestDB",
                # An address may have a password anywhere.
                why="it is another address" if "://" in str(store) else f"it is {store!r}",
                next_step="write questdb://host:9000?catalog=FOLDER; SeamlessDataProvider takes any store",
            )
        super().__init__(store, *given, **options)  # type: ignore[arg-type]  # an address, as settings have it
