"""What is remembered has a short life, a bound, and no memory of what was before a change."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.errors import RegistryUnavailableError, SchemaRegistryError
from qmtl.foundation.schema.documents import Schema
from qmtl.foundation.schema.registry.contract import Registered
from qmtl.foundation.schema.registry.rest.recent import Recent
from qmtl.runtime.testing.clock import FakeClock


def found(version: int) -> Registered:
    return Registered("a", version, version, Schema('"int"'))


def failing(error: SchemaRegistryError) -> Callable[[], Registered]:
    def ask() -> Registered:
        raise error

    return ask


AWAY = RegistryUnavailableError("away", url="http://host")


@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("ask"), st.sampled_from(["up", "down", "gone"])),
            st.tuples(st.just("wait"), st.floats(0, 10)),
            st.tuples(st.just("expire"), st.sampled_from(["a", "b", None])),
        ),
        max_size=30,
    )
)
def test_it_is_fresh_or_stale_as_a_plain_story_tells(steps: list[tuple[str, object]]) -> None:
    clock = FakeClock()
    recent = Recent(clock, life_s=5, most=10)
    stated: Registered | None = None
    asked_at = -100.0
    for number, (what, how) in enumerate(steps):
        if what == "wait":
            clock.advance(float(str(how)))
        elif what == "expire":
            recent.expire(how)  # type: ignore[arg-type]  # a subject or None
            asked_at = -100.0 if how in ("a", None) else asked_at
        else:
            answers = {
                "up": lambda number=number: found(number),  # type: ignore[misc]  # bound early
                "down": failing(AWAY),
                "gone": failing(SchemaRegistryError("gone", code=40402)),
            }
            is_known = stated is not None and clock.monotonic() - asked_at < 5
            if is_known:
                expected = stated
            elif how == "up":
                expected = stated = found(number)
            elif how == "down" and stated is not None:
                expected = stated = stated._replace(is_stale=True)
            else:
                expected = stated = None
            if not is_known:
                asked_at = clock.monotonic()
            if expected is None:
                with pytest.raises(SchemaRegistryError):
                    recent.answer(("a", 1), answers[str(how)])
            else:
                assert recent.answer(("a", 1), answers[str(how)]) == expected


def test_an_answer_from_before_a_change_is_not_kept() -> None:
    recent = Recent(FakeClock(), life_s=5, most=10)

    def ask_while_another_changes() -> Registered:
        recent.expire("a")
        return found(1)

    assert recent.answer(("a", "latest"), ask_while_another_changes) == found(1)
    assert recent.answer(("a", "latest"), lambda: found(2)) == found(2)


def test_it_holds_no_more_than_it_may() -> None:
    recent = Recent(FakeClock(), life_s=5, most=10)
    asked = []
    for number in range(1_000):
        recent.answer((f"s{number}",), lambda number=number: asked.append(number) or found(number))  # type: ignore[misc,func-returns-value]  # bound early
    assert len(recent._answers) <= 10
    assert recent.answer(("s999",), failing(AWAY)) == found(999)
