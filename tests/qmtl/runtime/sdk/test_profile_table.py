"""One table of patterns: for each column the first row that matches and fills it."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.series import SeriesId
from qmtl.foundation.sla import SLAPolicy
from qmtl.foundation.timeline import Coverage, Span
from qmtl.runtime.sdk.profile_table import ProfileRow, ProfileTable, profile_table
from qmtl.runtime.testing.vendors import ScriptedFeed, ScriptedVendor

SERIES = SeriesId.parse("ohlcv:desk:AAPL:1h")
OTHER = SeriesId.parse("ohlcv:other:AAPL:1h")


class Always:
    def sessions(self, span: Span) -> Coverage:
        return Coverage.of(span)


def test_each_column_comes_from_the_first_row_that_fills_it() -> None:
    vendor, general, feed = ScriptedVendor(), ScriptedVendor(), ScriptedFeed([])
    table = ProfileTable(
        [
            ProfileRow("ohlcv:desk:*", "one", sla=SLAPolicy(total=1.0)),
            ProfileRow("ohlcv:desk:*", "two", vendor=vendor, sla=SLAPolicy(total=2.0)),
            ProfileRow("*", "three", vendor=general, feed=feed, subject="bars"),
        ]
    )
    assert table.vendor(SERIES) is vendor
    assert table.vendor(OTHER) is general
    assert table.feed(SERIES) is feed
    assert table.subject(SERIES) == "bars"
    assert table.sla(SERIES) == SLAPolicy(total=1.0)
    assert table.sla(OTHER) is None


def test_the_parameters_of_a_provider_are_rows() -> None:
    vendor, feed, policy = ScriptedVendor(), ScriptedFeed([]), SLAPolicy(total=1.0)
    calendar, first, second = Always(), SeriesFacts(anchor="session"), SeriesFacts(has_volume=False)
    table = profile_table(
        vendors={"ohlcv:desk:*": vendor},
        live=feed,
        calendars={"ohlcv:desk:*": calendar, "*": "XNYS"},
        declared=[("ohlcv:desk:*", first), ("*", second)],
        sla=policy,
    )
    assert (table.vendor(SERIES), table.vendor(OTHER)) == (vendor, None)
    assert (table.feed(SERIES), table.feed(OTHER)) == (feed, feed)
    assert table.sla(OTHER) == policy
    assert table.calendars == {"ohlcv:desk:*": calendar}
    # Of one place the first row that matches counts as a whole.
    assert table.declared(SERIES) == {
        "calendars=": SeriesFacts(calendar="ohlcv:desk:*"),
        "seamless.series": first,
    }
    assert table.declared(OTHER) == {"calendars=": SeriesFacts(calendar="XNYS"), "seamless.series": second}


def test_rows_that_are_handed_over_stand_before_the_parameters() -> None:
    vendor, general = ScriptedVendor(), ScriptedVendor()
    table = profile_table(vendors=general, rows=[ProfileRow("ohlcv:desk:*", "preset", vendor=vendor)])
    assert table.vendor(SERIES) is vendor
    assert table.vendor(OTHER) is general


def test_what_is_no_calendar_is_refused() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        profile_table(calendars={"ohlcv:desk:*": 5})  # type: ignore[dict-item]
    assert caught.value.what == "the calendar of 'ohlcv:desk:*' is a int"


def test_a_source_that_serves_several_patterns_is_closed_once() -> None:
    vendor, feed = ScriptedVendor(), ScriptedFeed([])
    table = profile_table(vendors={"a:*": vendor, "b:*": vendor}, live=feed)
    assert [id(source) for source in table.sources] == [id(vendor), id(feed)]


def test_why_nobody_serves_a_series_names_the_patterns_that_there_are() -> None:
    why, next_step = profile_table(vendors={"ohlcv:desk:*": ScriptedVendor()}).unserved(OTHER)
    assert why == "no vendor is configured for this series; there are some for 'ohlcv:desk:*'"
    assert next_step == "name a vendor in qmtl.yml (seamless.vendors), or import a file"
    assert profile_table(vendors={}).unserved(OTHER).why == "no vendor is configured for this series"


def test_ccxt_serves_where_no_vendor_is_named_and_is_made_only_when_it_is_asked() -> None:
    binance = SeriesId.parse("ohlcv:binance:BTC/USDT:1m")
    own = ScriptedVendor()
    table = profile_table(rows=[ProfileRow("ohlcv:desk:*", "preset", vendor=own)])
    assert table.sources == [own]
    vendor = table.vendor(binance)
    assert vendor is not None
    assert vendor is table.vendor(SeriesId.parse("ohlcv:binance:ETH/USDT:1m"))
    assert getattr(vendor, "name", None) == "ccxt:binance"
    assert "_vendor" not in vars(vendor)
    assert table.vendor(OTHER) is None
    assert table.unserved(OTHER).why.endswith("ccxt has no exchange 'other'")
    assert table.vendors == "ohlcv:desk:* by ScriptedVendor, the exchanges of ccxt"


PATTERNS = st.sampled_from(["*", "ohlcv:desk:*", "ohlcv:*:AAPL:1h", "ohlcv:other:*", "*:5m", "ohlcv:d?sk:*"])
rows = st.tuples(
    PATTERNS,
    st.sampled_from(["a", "b"]),
    st.none() | st.sampled_from([SeriesFacts(anchor="clock"), SeriesFacts(has_volume=False)]),
    st.none() | st.sampled_from(["s", "t"]),
    st.none() | st.sampled_from([SLAPolicy(total=1.0), SLAPolicy(total=2.0)]),
).map(lambda row: ProfileRow(row[0], row[1], facts=row[2], subject=row[3], sla=row[4]))


@given(table=st.lists(rows, max_size=6), series=st.sampled_from([SERIES, OTHER]))
def test_a_lookup_is_the_first_filled_cell_of_its_column(table: list[ProfileRow], series: SeriesId) -> None:
    matching = [row for row in table if fnmatchcase(series.text, row.match)]
    looked_up = ProfileTable(table)
    assert looked_up.subject(series) == next((row.subject for row in matching if row.subject), None)
    assert looked_up.sla(series) == next((row.sla for row in matching if row.sla), None)
    assert looked_up.has_budgets is any(row.sla is not None for row in table)
    expected: dict[str, SeriesFacts] = {}
    for row in reversed(matching):
        if row.facts is not None:
            expected[row.place] = row.facts
    assert looked_up.declared(series) == expected


def test_a_row_may_be_of_some_node_ids_alone() -> None:
    mine = ProfileRow("ohlcv:*", "one", subject="mine", partial_ok=True, members={SERIES.text})
    table = ProfileTable([mine, ProfileRow("*", "two", subject="all", on_findings="report")])
    assert (table.subject(SERIES), table.subject(OTHER)) == ("mine", "all")
    assert (table.partial_ok(SERIES), table.partial_ok(OTHER)) == (True, None)
    assert (table.on_findings(SERIES), table.on_findings(OTHER)) == ("report", "report")
    elsewhere = ProfileTable([mine._replace(match="ohlcv:other:*")])
    assert elsewhere.subject(SERIES) is None, "the pattern holds, too"


NAMES = [f"ohlcv:desk:{symbol}:1h" for symbol in "ABC"]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["*", "ohlcv:desk:*", "ohlcv:desk:A:*", "ohlcv:other:*"]),
            st.none() | st.frozensets(st.sampled_from(NAMES)),
            st.none() | st.sampled_from(["one", "two"]),
            st.sampled_from(["here", "there"]),
        ),
        max_size=8,
    )
)
def test_rows_of_members_are_found_as_if_all_were_looked_at(
    rows: list[tuple[str, frozenset[str] | None, str | None, str]],
) -> None:
    table = ProfileTable(
        [
            ProfileRow(match, place, subject=subject, facts=SeriesFacts(calendar=subject), members=members)
            for match, members, subject, place in rows
        ]
    )
    for name in NAMES:
        mine = [
            (place, subject)
            for match, members, subject, place in rows
            if fnmatchcase(name, match) and (members is None or name in members)
        ]
        series = SeriesId.parse(name)
        assert table.subject(series) == next((subject for _, subject in mine if subject), None)
        assert {place: facts.calendar for place, facts in table.declared(series).items()} == dict(mine[::-1])


def test_a_series_is_not_compared_with_all_presets_of_a_world(monkeypatch: pytest.MonkeyPatch) -> None:
    concerns, asked = ProfileRow.concerns, []
    monkeypatch.setattr(
        ProfileRow, "concerns", lambda row, series: asked.append(row) or concerns(row, series)
    )
    rows = [
        ProfileRow("*", "a world", subject=f"s{n}", members=frozenset({name})) for n, name in enumerate(NAMES)
    ]
    table = ProfileTable(rows * 100)
    assert [table.subject(SeriesId.parse(name)) for name in NAMES] == ["s0", "s1", "s2"]
    assert len(asked) == len(NAMES)
