"""Where pages begin is known for certain, or there is one page."""

import pytest
from hypothesis import given

from qmtl.foundation.timeline import Span
from qmtl.foundation.times import MINUTE
from qmtl.runtime.io.sql import codec, paged
from qmtl.runtime.io.sql.codec import pack, pack_many, part_between, unpack
from qmtl.runtime.io.store.rows import Rows, allocate, from_frame
from qmtl.runtime.testing.bars import synthetic_bars
from qmtl.runtime.testing.store_model import SERIES
from tests.qmtl.runtime.io.sql.test_codec import first_page, same_bits, some_rows


def test_a_day_of_minutes_takes_two_pages_at_most() -> None:
    rows = from_frame(synthetic_bars(SERIES, Span(0, 8192 * MINUTE)), SERIES)
    packed = pack(rows)
    assert len(packed.blob) < 5.5 * rows.size
    for first in range(0, 8192 - 1440, 97):
        part = part_between(packed, int(rows.ts[first]), int(rows.ts[first + 1439]))
        assert part.rows in (2048, 4096)
        assert part.first <= first
        assert first + 1440 <= part.first + part.rows


@given(some_rows())
def test_pages_that_cannot_be_told_apart_become_one(rows: Rows) -> None:
    def uncertain(file: bytes, counts: list[int], kind: int) -> list[int]:
        return [] if len(counts) > 1 else _page_starts(file, counts, kind)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paged, "PAGE_ROWS", 7)
        patch.setattr(paged, "_page_starts", uncertain)
        packed = pack(rows)
    target = allocate(rows.size)
    assert packed.codec == codec.PAGED
    assert first_page(packed).rows == rows.size
    unpack(packed, target)
    assert same_bits(target, rows)


_page_starts = paged._page_starts


def test_where_pages_begin_is_known_or_nothing_is() -> None:
    mark = paged._mark(4, 1024)
    rest = paged._mark(4, 5)
    assert paged._page_starts(b"x" + mark + b"y" + mark + b"z" + rest, [1024, 1024, 5], 4) == [1, 6, 11]
    assert paged._page_starts(mark + rest + mark + rest, [1024, 5, 1024, 5], 4) == [0, 4, 8, 12]
    # One more that looks like a page, a page too few, and another order.
    for looks in (mark + mark + mark + rest, mark + mark + rest + rest, mark + rest, mark + rest + mark):
        assert paged._page_starts(b"x" + looks, [1024, 1024, 5], 4) == []


def test_marks_that_overlap_are_noticed() -> None:
    mark = paged._mark(4, 1025)
    assert mark == b"\4\0\4\0"
    assert paged._page_starts(b"\4\0" + mark + mark, [1025, 1025], 4) == []


def test_pieces_whose_pages_cannot_be_told_apart_together_are_packed_alone() -> None:
    rows = from_frame(synthetic_bars(SERIES, Span(0, 3 * 4096 * MINUTE)), SERIES)
    pieces = [rows.cut(first, first + 4096) for first in range(0, rows.size, 4096)]
    alone = [pack(piece) for piece in pieces]

    def uncertain(file: bytes, counts: list[int], kind: int) -> list[int]:
        return [] if len(counts) > 2 else _page_starts(file, counts, kind)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paged, "_page_starts", uncertain)
        assert pack_many(pieces) == alone
    assert [first_page(packed).rows for packed in alone] == [2048] * 3
