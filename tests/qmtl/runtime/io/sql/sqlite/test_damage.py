"""Damaged bytes never give a wrong answer: what they held becomes unknown, and heals."""

import logging
import sqlite3
import struct
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from qmtl.foundation.errors import StoreCorruptError
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.frames import stamps
from qmtl.foundation.timeline import EMPTY, Coverage
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.io.store.values import Write
from qmtl.runtime.testing.store_model import SERIES
from qmtl.runtime.testing.store_suites.bars import OTHER, changes_since, minutes
from qmtl.runtime.testing.store_suites.bars import some_bars as plain_bars
from tests.qmtl.runtime.io.sql.sqlite.tampering import tamper

TOTAL = 30_000
WHOLE = minutes(0, TOTAL)


def some_bars(first: int, count: int, *, price: float = 100.0) -> pl.DataFrame:
    """Bars that do not pack well, so that a chunk takes several pages, and no two chunks share any bytes."""
    scattered = pl.col("ts").hash() % 2**32
    return plain_bars(first, count, price=price).with_columns(volume=scattered.cast(pl.Float64))


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "seamless.store")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three chunks and a few single rows, all of them answered for."""
    with EmbeddedStore(tmp_path / "store") as store:
        store.commit(SERIES, Write("v", 1, some_bars(0, TOTAL - 10), Coverage.of(minutes(0, TOTAL - 10))))
        for bar in range(TOTAL - 10, TOTAL):
            store.commit(SERIES, Write("v", 1, some_bars(bar, 1), Coverage.of(minutes(bar, bar + 1))))
    return tmp_path / "store"


def second_chunk(folder: Path) -> tuple[int, int, int, bytes]:
    """Number, first and last bar, and bytes."""
    connection = sqlite3.connect(folder / "bars.sqlite")
    row = connection.execute(
        "SELECT id, first_ts, last_ts, data FROM chunk JOIN blob ON chunk = id"
        " ORDER BY first_ts LIMIT 1 OFFSET 1"
    ).fetchone()
    connection.close()
    step = SERIES.timeframe.step
    return row[0], row[1] // step, row[2] // step, row[3]


def flip(blob: bytes, at: int) -> bytes:
    return blob[:at] + bytes([blob[at] ^ 0x10]) + blob[at + 1 :]


def flip_a_byte(folder: Path, at: float) -> None:
    chunk, *_, blob = second_chunk(folder)
    tamper(folder, "UPDATE blob SET data = ? WHERE chunk = ?", flip(blob, int(at * (len(blob) - 1))), chunk)


def flip_in_the_file(folder: Path) -> None:
    *_, blob = second_chunk(folder)
    data = (folder / "bars.sqlite").read_bytes()
    at = data.index(blob[-500:])
    (folder / "bars.sqlite").write_bytes(flip(data, at + 100))


def break_the_links(folder: Path) -> None:
    """SQLite chains the pages of a blob by numbers at their heads."""
    *_, blob = second_chunk(folder)
    data = (folder / "bars.sqlite").read_bytes()
    at = data.index(blob[9_000:9_100]) // 8192 * 8192
    (folder / "bars.sqlite").write_bytes(data[:at] + b"\x00\xff\xff\xff" + data[at + 4 :])


DAMAGES: dict[str, Callable[[Path], None]] = {
    "first byte": lambda folder: flip_a_byte(folder, 0),
    "some byte": lambda folder: flip_a_byte(folder, 0.37),
    "last byte": lambda folder: flip_a_byte(folder, 1),
    "in the file": flip_in_the_file,
    "links of pages": break_the_links,
    "no bytes": lambda f: tamper(f, "DELETE FROM blob WHERE chunk = ?", second_chunk(f)[0]),
    "cut short": lambda f: tamper(f, "UPDATE blob SET data = x'00' WHERE chunk = ?", second_chunk(f)[0]),
    "row count": lambda f: tamper(f, "UPDATE chunk SET rows = 5 WHERE id = ?", second_chunk(f)[0]),
    "checksum": lambda f: tamper(f, "UPDATE chunk SET checksum = x'1234' WHERE id = ?", second_chunk(f)[0]),
    "codec": lambda f: tamper(f, "UPDATE chunk SET codec = 2 WHERE id = ?", second_chunk(f)[0]),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
class TestDamagedChunk:
    def test_verify_names_it(self, folder: Path, damage: Callable[[Path], None]) -> None:
        chunk, first, last, _ = second_chunk(folder)
        damage(folder)
        with EmbeddedStore(folder) as store:
            steps: list[tuple[int, int]] = []
            found = store.verify(progress=lambda done, total: steps.append((done, total)))
            assert [(d.series, d.span, d.chunk) for d in found.damage] == [
                (SERIES, minutes(first, last + 1), chunk)
            ]
            assert found.damage[0].why
            assert not found.is_sound
            assert steps[-1] == (found.chunks, found.chunks)
            assert not found.repaired

    def test_reads_leave_it_out_and_it_heals(self, folder: Path, damage: Callable[[Path], None]) -> None:
        _, first, last, _ = second_chunk(folder)
        damage(folder)
        with EmbeddedStore(folder) as store:
            known = store.newest().tx
            before = store.read(SERIES, minutes(0, 1)).as_of
            whole = some_bars(0, TOTAL)
            rest = whole.filter(~whole["ts"].is_in(some_bars(first, last + 1 - first)["ts"].implode()))
            left = Coverage.of(WHOLE) - Coverage.of(minutes(first, last + 1))
            for as_of in (before, None, None, before):
                snapshot = store.read(SERIES, WHOLE, as_of=as_of)
                assert_frame_equal(snapshot.frame, rest, check_exact=True)
                assert snapshot.answered == left
                assert snapshot.damaged == Coverage.of(minutes(first, last + 1))
            # It is written down once, for caches to see.
            assert [(c.tx, c.span) for c in changes_since(store, known)] == [
                (known + 1, minutes(first, last + 1))
            ]
            known_later = store.verify()
            assert not known_later.damage
            assert [(one.series, one.span) for one in known_later.lost] == [
                (SERIES, minutes(first, last + 1))
            ]
            assert not known_later.is_sound
            unhealed = store.read(SERIES, WHOLE).as_of
            store.commit(SERIES, Write("v", 2, whole, Coverage.of(WHOLE)))
            healed = store.read(SERIES, WHOLE)
            assert_frame_equal(healed.frame, whole, check_exact=True)
            assert healed.answered == Coverage.of(WHOLE)
            assert healed.damaged == EMPTY
            for as_of in (before, unhealed):
                assert store.read(SERIES, WHOLE, as_of=as_of).answered == left
                assert store.read(SERIES, WHOLE, as_of=as_of).damaged == Coverage.of(WHOLE) - left
            assert store.verify().is_sound or damage is DAMAGES["links of pages"]

    def test_a_read_as_of_writes_nothing(self, folder: Path, damage: Callable[[Path], None]) -> None:
        _, first, last, _ = second_chunk(folder)
        with EmbeddedStore(folder) as store:
            before = store.read(SERIES, minutes(0, 1)).as_of
        damage(folder)
        with EmbeddedStore(folder) as store:
            known = store.newest().tx
            for _ in range(2):
                snapshot = store.read(SERIES, WHOLE, as_of=before)
                assert snapshot.damaged == Coverage.of(minutes(first, last + 1))
            assert store.newest().tx == known
            assert store.info().lost == 0

    def test_it_heals_bar_by_bar_or_is_acknowledged(
        self, folder: Path, damage: Callable[[Path], None]
    ) -> None:
        _, first, last, _ = second_chunk(folder)
        damage(folder)
        with EmbeddedStore(folder) as store:
            store.read(SERIES, WHOLE)
            halfway = first + 100
            store.commit(SERIES, Write("v", 2, some_bars(first, 50), Coverage.of(minutes(first, halfway))))
            left = minutes(halfway, last + 1)
            assert store.read(SERIES, WHOLE).damaged == Coverage.of(left)
            assert [one.span for one in store.verify().lost] == [left]
            still = store.read(SERIES, WHOLE).as_of
            assert store.acknowledge() == 1
            acknowledged = store.read(SERIES, WHOLE)
            assert acknowledged.damaged == EMPTY
            assert Coverage.of(left) & acknowledged.answered == EMPTY, "it stays unknown"
            assert store.verify().lost == ()
            assert store.read(SERIES, WHOLE, as_of=still).damaged == Coverage.of(left)
            assert store.acknowledge() == 0

    def test_what_changed_over_it_is_unknown(self, folder: Path, damage: Callable[[Path], None]) -> None:
        _, first, last, _ = second_chunk(folder)
        with EmbeddedStore(folder) as store:
            before = store.read(SERIES, minutes(0, 1)).as_of
        damage(folder)
        with EmbeddedStore(folder) as store:
            after = store.commit(SERIES, Write("v", 2, some_bars(0, TOTAL, price=7.0))).as_of
            with pytest.raises(StoreCorruptError) as refused:
                store.diff(SERIES, before, after)
            assert refused.value.damaged == Coverage.of(minutes(first, last + 1))
            # What cannot be read is in neither list.
            changed = store.diff(SERIES, before, after, partial_ok=True)
            assert changed.height == TOTAL - (last + 1 - first)
            again = store.commit(SERIES, Write("v", 3, some_bars(0, 10, price=9.0))).as_of
            assert store.diff(SERIES, after, again).height == 10, "the damage is no part of this"

    def test_it_can_be_retracted(self, folder: Path, damage: Callable[[Path], None]) -> None:
        _, first, last, _ = second_chunk(folder)
        damage(folder)
        with EmbeddedStore(folder) as store:
            for gone in (minutes(first + 5, last - 5), minutes(first - 5, last + 5), minutes(0, last + 5)):
                store.retract(SERIES, gone, reason="the disk")
                assert not set(store.read(SERIES, gone).frame["ts"])
            left = some_bars(last + 5, TOTAL - last - 5)
            assert_frame_equal(store.read(SERIES, WHOLE).frame, left, check_exact=True)
            assert store.read(SERIES, WHOLE).answered == Coverage.of(minutes(last + 5, TOTAL))
            assert not store.verify().damage
            store.commit(SERIES, Write("v", 2, some_bars(0, TOTAL), Coverage.of(WHOLE)))
            assert_frame_equal(store.read(SERIES, WHOLE).frame, some_bars(0, TOTAL), check_exact=True)

    def test_verify_repairs(self, folder: Path, damage: Callable[[Path], None]) -> None:
        _, first, last, _ = second_chunk(folder)
        damage(folder)
        with EmbeddedStore(folder) as store:
            assert store.verify(repair=True).repaired
            assert not store.verify().damage
            assert store.info().lost == 1
            gone = store.read(SERIES, minutes(first, last + 1))
            assert (gone.frame.height, list(gone.answers)) == (0, [])

    def test_a_write_over_it_goes_through(self, folder: Path, damage: Callable[[Path], None]) -> None:
        _, first, last, _ = second_chunk(folder)
        damage(folder)
        with EmbeddedStore(folder) as store:
            span = minutes(first + 10, first + 1_000)
            commit = store.commit(SERIES, Write("v", 2, some_bars(first + 10, 990), Coverage.of(span)))
            assert commit.added == 990
            found = store.read(SERIES, minutes(first, last + 1))
            assert_frame_equal(found.frame, some_bars(first + 10, 990), check_exact=True)
            assert found.answered & Coverage.of(minutes(first, last + 1)) == Coverage.of(span)

    def test_one_who_may_not_write_reads_right_too(
        self, folder: Path, damage: Callable[[Path], None]
    ) -> None:
        _, first, last, _ = second_chunk(folder)
        damage(folder)
        with EmbeddedStore(folder, read_only=True) as store:
            for _ in range(2):
                snapshot = store.read(SERIES, WHOLE)
                assert snapshot.frame.height == TOTAL - (last + 1 - first)
                assert snapshot.answered == Coverage.of(WHOLE) - Coverage.of(minutes(first, last + 1))

    def test_compaction_does_not_carry_it_on(self, folder: Path, damage: Callable[[Path], None]) -> None:
        _, first, last, _ = second_chunk(folder)
        damage(folder)
        with EmbeddedStore(folder) as store:
            # Small writes on both sides of the chunk make a compaction want to rewrite it.
            store.commit(SERIES, Write("v", 2, some_bars(first + 5, 5, price=1.0)))
            store.compact()
            store.compact()
            assert not store.verify().damage
            lost = Coverage.of(minutes(first, last + 1))
            assert store.read(SERIES, WHOLE).answered & lost == Coverage()


def test_a_moved_index_entry_is_noticed(folder: Path) -> None:
    chunk, first, last, _ = second_chunk(folder)
    tamper(folder, "UPDATE chunk SET first_ts = first_ts + 60000000000 WHERE id = ?", chunk)
    with EmbeddedStore(folder) as store:
        assert [d.span for d in store.verify(repair=True).damage] == [minutes(first, last + 1)]


def test_a_damaged_single_row(folder: Path) -> None:
    ts = (TOTAL - 4) * SERIES.timeframe.step
    tamper(folder, "UPDATE hot SET data = x'00' || substr(data, 2) WHERE ts = ?", ts)
    gone = Coverage.of(minutes(TOTAL - 4, TOTAL - 3))
    # The first byte of this stamp is zero already; then nothing is damaged.
    tamper(folder, "UPDATE hot SET data = substr(data, 1, 20) || x'5a' || substr(data, 22) WHERE ts = ?", ts)
    with EmbeddedStore(folder) as store:
        before = store.read(SERIES, minutes(0, 1)).as_of
        (damage,) = store.verify().damage
        assert (damage.span, damage.chunk) == (gone.hull, None)
        for as_of in (None, None, before):
            snapshot = store.read(SERIES, WHOLE, as_of=as_of)
            assert snapshot.frame.height == TOTAL - 1
            assert snapshot.answered == Coverage.of(WHOLE) - gone
        assert [one.span for one in store.verify().lost] == [gone.hull]
        assert store.commit(SERIES, Write("v", 3, some_bars(TOTAL - 4, 1), gone)).added == 1
        assert store.read(SERIES, WHOLE).frame.equals(some_bars(0, TOTAL))
        assert store.verify().is_sound


def test_rows_are_counted_right_after_damage(folder: Path) -> None:
    chunk, first, last, blob = second_chunk(folder)
    with EmbeddedStore(folder) as store:
        store.commit(SERIES, Write("v", 2, some_bars(first + 5, 5, price=1.0)))
        assert store.info().rows == TOTAL
        tamper(folder, "UPDATE blob SET data = ? WHERE chunk = ?", flip(blob, 200), chunk)
        assert store.verify(repair=True).repaired
        # The five newer rows lay apart from the chunk, and are still there.
        assert store.read(SERIES, WHOLE).frame.height == TOTAL - (last + 1 - first) + 5
        assert store.info().rows == TOTAL - (last + 1 - first) + 5


def test_damage_in_the_past_only(folder: Path) -> None:
    chunk, first, last, blob = second_chunk(folder)
    with EmbeddedStore(folder) as store:
        before = store.read(SERIES, WHOLE).as_of
        newer = some_bars(0, TOTAL, price=7.0)
        store.commit(SERIES, Write("v", 2, newer))
        tamper(folder, "UPDATE blob SET data = ? WHERE chunk = ?", flip(blob, 200), chunk)
        assert store.verify(repair=True).damage[0].chunk == chunk
        now = store.read(SERIES, WHOLE)
        assert_frame_equal(now.frame, newer, check_exact=True)
        assert now.answered == Coverage.of(WHOLE)
        then = store.read(SERIES, WHOLE, as_of=before)
        assert then.frame.height == TOTAL - (last + 1 - first)
        assert then.answered == Coverage.of(WHOLE) - Coverage.of(minutes(first, last + 1))
        assert then.damaged == Coverage.of(minutes(first, last + 1))
        assert now.damaged == EMPTY
        # It cannot heal, for nobody writes to the past: it is reported until it is acknowledged.
        assert [one.span for one in store.verify().lost] == [minutes(first, last + 1)]
        assert store.acknowledge() == 1
        assert store.verify().is_sound
        assert store.read(SERIES, WHOLE, as_of=before).damaged == then.damaged


def test_damage_in_the_newest_chunk_heals(tmp_path: Path) -> None:
    """The number of the newest chunk is used again: the bytes that stayed must not stand in its way."""
    with EmbeddedStore(tmp_path / "store") as store:
        span = Coverage.of(minutes(0, 5_000))
        store.commit(SERIES, Write("v", 1, some_bars(0, 5_000), span))
        for price in (100.0, 7.0):
            connection = sqlite3.connect(tmp_path / "store" / "bars.sqlite")
            newest, blob = connection.execute("SELECT chunk, data FROM blob ORDER BY chunk DESC").fetchone()
            connection.close()
            tamper(tmp_path / "store", "UPDATE blob SET data = ? WHERE chunk = ?", flip(blob, 99), newest)
            before = store.read(SERIES, minutes(0, 5_000))
            store.commit(SERIES, Write("v", 1, some_bars(0, 5_000, price=price), span))
            assert before.damaged == span
            assert store.read(SERIES, minutes(0, 5_000)).frame.equals(some_bars(0, 5_000, price=price))
            assert store.verify().is_sound


CORRECTED = minutes(40, 43)
AS_CORRECTED = pl.concat([some_bars(0, 40), some_bars(40, 3, price=200.0), some_bars(43, 17)])


@pytest.fixture
def corrected(folder: Path) -> Path:
    """Three bars of the first chunk were corrected, and lie over it as single rows."""
    with EmbeddedStore(folder) as store:
        store.commit(SERIES, Write("v", 2, some_bars(40, 3, price=200.0), Coverage.of(CORRECTED)))
    return folder


@pytest.mark.parametrize(
    "how",
    [
        "UPDATE hot SET series = 0 WHERE ts = 2400000000000",
        "UPDATE hot SET series = 9 WHERE ts = 2400000000000",
        "UPDATE hot SET ts = 7 WHERE ts = 2400000000000",
        "UPDATE hot SET tx_to = 3 WHERE ts = 2400000000000",
        "DELETE FROM hot WHERE ts = 2400000000000",
        "DELETE FROM hot WHERE ts <= 2520000000000",
    ],
)
def test_a_correction_that_vanished_is_lost_and_not_undone(corrected: Path, how: str) -> None:
    tamper(corrected, how)
    for _ in range(2):  # as it is met, and once it was written down
        with EmbeddedStore(corrected) as store:
            found = store.read(SERIES, minutes(0, 60))
            assert Coverage.of(minutes(40, 41)) - found.damaged == EMPTY
            assert found.damaged - Coverage.of(CORRECTED) == EMPTY  # no commit but the correction was there
            assert found.frame.join(AS_CORRECTED, on=AS_CORRECTED.columns, how="anti").is_empty()
            assert not store.verify().is_sound
    with EmbeddedStore(corrected) as store:
        store.commit(SERIES, Write("v", 3, some_bars(40, 3, price=200.0), Coverage.of(CORRECTED)))
        healed = store.read(SERIES, minutes(0, 60))
        assert not healed.damaged
        assert_frame_equal(healed.frame[40:43], some_bars(40, 3, price=200.0), check_exact=True)
        assert store.verify().is_sound


@pytest.mark.parametrize("bit", range(8))
@pytest.mark.parametrize("byte", range(4, 10))
def test_a_flipped_bit_before_a_single_row_undoes_no_correction(corrected: Path, byte: int, bit: int) -> None:
    """The types of its key lie there: with other ones, a search goes astray where a scan does not."""
    tamper(corrected, "PRAGMA wal_checkpoint(TRUNCATE)")
    database = corrected / "bars.sqlite"
    data = bytearray(database.read_bytes())
    key = data.index(struct.pack(">q", 2**63 - 1) + CORRECTED.start.to_bytes(6, "big"))
    data[key - byte] ^= 1 << bit
    database.write_bytes(data)
    for _ in range(2):
        try:
            with EmbeddedStore(corrected) as store:
                found = store.read(SERIES, minutes(0, 60))
        except StoreCorruptError:
            continue
        assert found.frame.join(AS_CORRECTED, on=AS_CORRECTED.columns, how="anti").is_empty()
        assert Coverage.of(minutes(0, 60)) - found.damaged - cells(found.frame) == EMPTY


def cells(frame: pl.DataFrame) -> Coverage:
    ts = stamps(frame)
    return Coverage.from_arrays(ts, ts + SERIES.timeframe.step)


@pytest.mark.parametrize("grown", ["tx_from | 64", "tx_from | 1048576"])
def test_a_row_whose_first_commit_is_damaged_stays_lost_to_the_past(folder: Path, grown: str) -> None:
    with EmbeddedStore(folder) as store:
        as_of = store.newest().as_of
        store.commit(OTHER, Write("v", 1, some_bars(0, 1)))
    tamper(folder, f"UPDATE hot SET tx_from = {grown} WHERE ts = {(TOTAL - 5) * SERIES.timeframe.step}")
    bar = minutes(TOTAL - 5, TOTAL - 4)
    for _ in range(2):
        with EmbeddedStore(folder) as store:
            for at in (as_of, None, as_of):
                found = store.read(SERIES, minutes(TOTAL - 9, TOTAL), as_of=at)
                assert found.damaged == Coverage.of(bar), at
                assert found.frame.height == 8


def test_neighbours_beyond_damage_are_no_neighbours(folder: Path) -> None:
    """What lies behind a lost range must not pass for the bars beside the one that is asked for."""
    _, first, last, _ = second_chunk(folder)
    flip_a_byte(folder, 0.5)
    with EmbeddedStore(folder) as store:
        for _ in range(2):
            after = store.read(SERIES, minutes(last + 1, last + 11), context=5)
            assert after.first == 0
            assert after.rows.height == 15
            before = store.read(SERIES, minutes(first - 10, first), context=5)
            assert (before.first, before.rows.height) == (5, 15)


def test_bytes_that_are_damaged_are_never_given_away(tmp_path: Path) -> None:
    """To free a chunk whose pages are linked wrongly would free the pages of another."""
    with EmbeddedStore(tmp_path / "store", retention=0) as store:
        store.commit(SERIES, Write("v", 1, some_bars(0, TOTAL)))
        store.commit(SERIES, Write("v", 1, some_bars(0, TOTAL, price=7.0)))
    break_the_links(tmp_path / "store")
    with EmbeddedStore(tmp_path / "store", retention=0) as store:
        store.compact()
        assert store.read(SERIES, WHOLE).frame.equals(some_bars(0, TOTAL, price=7.0))
        assert not store.verify().damage
        store.commit(SERIES, Write("v", 1, some_bars(0, TOTAL, price=9.0)))
        assert store.read(SERIES, WHOLE).frame.equals(some_bars(0, TOTAL, price=9.0))


HIDDEN = {
    "chunk": "DELETE FROM chunk WHERE id = 2",
    "single row": f"DELETE FROM hot WHERE ts = {(TOTAL - 4) * SERIES.timeframe.step}",
    "answer": "DELETE FROM answer WHERE tx_to > 1000000",
    "chunk of another series": "UPDATE chunk SET series = 7 WHERE id = 2",
    "changed answer": "UPDATE answer SET start = start + 60000000000 WHERE tx_to > 1000000",
    "source of an answer": "UPDATE answer SET source = 'x' WHERE tx_to > 1000000",
    "row of another series": "UPDATE hot SET series = 7",
    "row of another commit": "UPDATE hot SET tx_from = tx_from - 1",
}


@pytest.mark.parametrize("sql", HIDDEN.values(), ids=HIDDEN)
def test_what_damage_hides_is_missed(folder: Path, sql: str) -> None:
    tamper(folder, sql)
    with EmbeddedStore(folder) as store:
        assert not store.verify().is_sound
        found = store.read(SERIES, WHOLE)
        whole = some_bars(0, TOTAL)
        assert found.frame.equals(whole.filter(whole["ts"].is_in(found.frame["ts"].implode())))
        gone = found.answered
        for ts in found.frame["ts"].to_physical():
            gone |= Coverage.of((ts, ts + SERIES.timeframe.step))
        assert found.damaged == Coverage.of(WHOLE) - gone
        store.commit(SERIES, Write("v", 2, whole, Coverage.of(WHOLE)))
        assert store.read(SERIES, WHOLE).frame.equals(whole)
        assert store.read(SERIES, WHOLE).answered == Coverage.of(WHOLE)
        if store.verify().problems:  # an entry of a series that does not exist
            store.verify(repair=True)
        assert store.verify().is_sound


def test_damaged_facts_are_no_facts(folder: Path) -> None:
    with EmbeddedStore(folder) as store:
        store.declare(SERIES, SeriesFacts(calendar="XNYS"))
    tamper(folder, "UPDATE facts SET facts = replace(facts, 'XNYS', 'XLON')")
    with EmbeddedStore(folder) as store:
        with pytest.raises(StoreCorruptError, match="declared"):
            store.facts(SERIES)
        assert store.verify(repair=True).repaired
        assert store.facts(SERIES) is None
        store.declare(SERIES, SeriesFacts(calendar="XNYS"))
        assert store.facts(SERIES) == SeriesFacts(calendar="XNYS")


LISTS = {
    "name of a series": "UPDATE series SET node = 'ohlcv:model:BTC/USDT:5m'",
    "time of a commit": "UPDATE tx SET committed_at = committed_at + 1",
    "a series gone": "DELETE FROM series",
}


@pytest.mark.parametrize("sql", LISTS.values(), ids=LISTS)
def test_a_damaged_list_stops_every_read(folder: Path, sql: str) -> None:
    with EmbeddedStore(folder) as store:
        store.commit(OTHER, Write("v", 1, plain_bars(0, 5)))
    tamper(folder, sql + " WHERE id = 1" if "series" in sql else sql)
    with EmbeddedStore(folder) as store:
        with pytest.raises(StoreCorruptError, match="the list of"):
            store.read(SERIES, WHOLE)
        assert store.verify().problems


def test_a_file_that_is_damaged_beyond_its_chunks_says_so(folder: Path) -> None:
    data = (folder / "bars.sqlite").read_bytes()
    (folder / "bars.sqlite").write_bytes(data[:8192] + b"\xee" * (len(data) - 8192))
    with pytest.raises(StoreCorruptError) as corrupt, EmbeddedStore(folder) as store:
        store.read(SERIES, WHOLE)
    assert corrupt.value.next_step is not None
    assert corrupt.value.path == str(folder)
