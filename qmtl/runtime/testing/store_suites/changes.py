"""How commits of others are noticed, as tests that an implementation inherits."""

from __future__ import annotations

from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.timeline import Coverage
from qmtl.runtime.io.store.contract import Store
from qmtl.runtime.io.store.values import Change
from qmtl.runtime.testing.store_suites.bars import (
    OTHER,
    SERIES,
    minutes,
    some_bars,
    write,
)


class ChangeLogSuite:
    """Inherit it, and give a fixture `store` that is an empty, writable store.

    knows_at_once: whether `has_changed` is False where nothing was committed. A store that would have to ask
    a server for that answers True.
    """

    knows_at_once = True

    def test_changes_are_listed_once_to_whoever_follows_them(self, store: Store) -> None:
        start = store.changed_since(None)
        assert start.commits == []
        assert store.has_changed(start.token) is not self.knows_at_once
        first = store.commit(SERIES, write(some_bars(5, 2)))
        second = store.commit(OTHER, write(answered=Coverage.of(minutes(30, 40))))
        assert store.has_changed(start.token)
        changes = store.changed_since(start.token)
        assert changes.commits == [
            Change(first.tx, SERIES, minutes(5, 7)),
            Change(second.tx, OTHER, minutes(30, 40)),
        ]
        assert store.has_changed(changes.token) is not self.knows_at_once
        assert store.changed_since(changes.token)[:2] == (changes.token, [])
        store.commit(SERIES, write(some_bars(5, 2)))
        assert store.has_changed(changes.token) is not self.knows_at_once, "it changes nothing"
        assert store.changed_since(changes.token).commits == []
        store.declare(OTHER, SeriesFacts(calendar="XNYS"))
        assert [one.series for one in store.changed_since(changes.token).commits] == [OTHER]
        assert store.changed_since(start.token).commits[:2] == changes.commits, "an older token still serves"

    def test_what_is_not_committed_is_no_change_of_bars(self, store: Store) -> None:
        token = store.changed_since(None).token
        store.archive_report(SERIES, {"errors": 0, "warnings": 0})
        assert store.changed_since(token).commits == []
