"""A bounded memory: what is in use stays, what is not goes, whatever the threads do."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from qmtl.foundation.schema.bounded_cache import BoundedCache


def test_what_is_kept_is_found_by_an_equal_key() -> None:
    kept: BoundedCache[tuple[str, int], str] = BoundedCache(10)
    assert kept.get(("a", 1)) is None
    kept.put(("a", 1), "one")
    assert kept.get(("a", 1)) == "one"
    kept.put(("a", 1), "another")
    assert (kept.get(("a", 1)), len(kept)) == ("another", 1)
    kept.clear()
    assert (kept.get(("a", 1)), len(kept)) == (None, 0)


def test_the_room_is_never_overstepped_by_more_than_two_entries() -> None:
    kept: BoundedCache[int, int] = BoundedCache(100)
    for number in range(10_000):
        kept.put(number, number, 7)
        assert 7 * len(kept) <= 100 + 2 * 7
    assert kept.get(9_999) == 9_999
    assert kept.get(0) is None


def test_what_is_asked_for_stays_while_others_come_and_go() -> None:
    kept: BoundedCache[int, str] = BoundedCache(20)
    kept.put(-1, "in use")
    for number in range(1_000):
        kept.put(number, "once")
        assert kept.get(-1) == "in use"


def test_what_is_larger_than_the_room_is_kept_until_others_come() -> None:
    kept: BoundedCache[str, int] = BoundedCache(10)
    kept.put("large", 1, 1_000)
    assert kept.get("large") == 1
    for number in range(20):
        kept.put(str(number), number)
    assert kept.get("large") is None


def test_threads_share_one_memory() -> None:
    kept: BoundedCache[int, int] = BoundedCache(50)

    def work(start: int) -> int:
        wrong = 0
        for number in range(start, start + 5_000):
            kept.put(number % 80, number % 80)
            found = kept.get((number * 7) % 80)
            wrong += found not in (None, (number * 7) % 80)
        return wrong

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(4))) == [0] * 4
    assert len(kept) <= 52
