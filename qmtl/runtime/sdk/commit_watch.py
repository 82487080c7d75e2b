"""Notices what others commit, so that nothing outdated is answered from memory."""

from __future__ import annotations

import threading

from qmtl.runtime.io.cache import RangeCache
from qmtl.runtime.io.store.contract import ChangeLog
from qmtl.runtime.sdk.series_profile import ProfileResolver


class CommitWatch:
    """Lets go of cached ranges and profiles of series that anybody has committed to; from any thread.

    version: of the store at the last look; another one after every commit.
    """

    def __init__(self, store: ChangeLog, cache: RangeCache, profiles: ProfileResolver) -> None:
        self._store = store
        self._cache = cache
        self._profiles = profiles
        self._lock = threading.Lock()
        self.version = store.changed_since(None).token

    @property
    def is_current(self) -> bool:
        """Whether nobody has committed since the last look; costs microseconds."""
        return not self._store.has_changed(self.version)

    def look(self) -> float:
        """Forget what other processes, threads or flights have written to since the last look.

        For how many seconds what others write may escape it: 0 where the store was asked, or tells at once.
        """
        if not self._store.has_changed(self.version):
            return self._store.max_staleness
        with self._lock:
            changes = self._store.changed_since(self.version)
            if changes.is_restored:
                self._cache.clear()
                self._profiles.forget_all()
            # Compaction lists no commit, but may take away the one whose time an answer would name.
            self._cache.forget_before(changes.horizon)
            for change in changes.commits:
                self._cache.forget(change.series, change.tx)
                self._profiles.forget(change.series)
            self.version = changes.token
        return 0.0
