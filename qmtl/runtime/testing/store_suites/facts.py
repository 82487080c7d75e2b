"""Declared facts, as tests that an implementation inherits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.facts import SeriesFacts
from qmtl.runtime.io.store.contract import Store
from qmtl.runtime.testing.store_suites.bars import (
    OTHER,
    SERIES,
    minutes,
    some_bars,
    write,
)


class DeclarationsSuite:
    """Inherit it, and give a fixture `store` that is an empty, writable store."""

    def test_facts_are_versioned(self, store: Store) -> None:
        first = store.commit(SERIES, write(some_bars(0, 1))).as_of
        facts = SeriesFacts(calendar="XNYS", anchor="session", allow_nonpositive=True, has_volume=False)
        store.declare(SERIES, facts)
        assert store.facts(SERIES) == facts
        declared, seen = store.newest(), store.changed_since(None).token
        store.declare(SERIES, facts)
        assert store.newest() == declared
        store.declare(SERIES, SeriesFacts(calendar="FX"))
        assert store.facts(SERIES) == SeriesFacts(calendar="FX")
        assert store.facts(SERIES, as_of=declared.as_of) == facts
        assert store.facts(SERIES, as_of=first) is None
        assert [one.series for one in store.changed_since(seen).commits] == [SERIES]
        assert store.facts(OTHER) is None

    def test_a_write_keeps_the_facts_that_it_rests_on(self, store: Store) -> None:
        rests_on = SeriesFacts(calendar="XNYS", has_volume=True)
        first = store.commit(SERIES, replace(write(some_bars(0, 1)), declared=rests_on))
        assert store.facts(SERIES) == rests_on
        assert store.newest().tx == first.tx, "with the rows, in one commit"
        assert store.facts(SERIES, as_of=first.as_of - 1) is None
        more = replace(write(some_bars(1, 1)), declared=SeriesFacts(allow_nonpositive=False))
        store.commit(SERIES, more)
        assert store.facts(SERIES) == SeriesFacts("XNYS", allow_nonpositive=False, has_volume=True)
        assert store.facts(SERIES, as_of=first.as_of) == rests_on
        for other in (SeriesFacts(calendar="24x7"), SeriesFacts(has_volume=False)):
            before = store.newest().tx
            with pytest.raises(InvalidRequestError, match="disagree") as refused:
                store.commit(SERIES, replace(write(some_bars(2, 1)), declared=other))
            assert refused.value.series == SERIES.text
            assert store.newest().tx == before
            assert store.read(SERIES, minutes(0, 9)).frame.height == 2, "nothing of it is kept"
