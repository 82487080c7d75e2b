"""Equal content, equal fingerprint; any other content, another one."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.fingerprint import fingerprint
from qmtl.foundation.frames import BAR_SCHEMA, bars, empty_bars

FLOATS = st.none() | st.floats() | st.sampled_from([0.0, -0.0, 1.5])
ROWS = st.lists(
    st.tuples(
        st.none() | st.integers(-(2**63), 2**63 - 1), FLOATS, st.none() | st.text(max_size=4), st.booleans()
    ),
    max_size=20,
)
SCHEMA = {"ts": pl.Datetime("ns", "UTC"), "x": pl.Float64, "s": pl.String, "b": pl.Boolean}


def frame_of(rows: list[tuple[Any, ...]]) -> pl.DataFrame:
    columns = list(zip(*rows, strict=True)) or [()] * 4
    stamps = pl.Series("ts", columns[0], dtype=pl.Int64).cast(SCHEMA["ts"])
    rest = [
        pl.Series(name, values, dtype=SCHEMA[name]) for name, values in zip("xsb", columns[1:], strict=True)
    ]
    return pl.DataFrame([stamps, *rest])


def plain(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """What counts as content: NaN is NaN, zero is zero."""
    return [(ts, x if x is None else "nan" if x != x else x + 0.0, s, b) for ts, x, s, b in rows]


@given(ROWS, ROWS)
def test_two_frames_agree_if_and_only_if_their_content_does(a: list[Any], b: list[Any]) -> None:
    assert (fingerprint(frame_of(a)) == fingerprint(frame_of(b))) == (plain(a) == plain(b))


@given(ROWS, st.integers(0, 20), st.randoms(use_true_random=False))
def test_one_changed_cell_is_noticed(rows: list[Any], at: int, random: Any) -> None:
    if not rows:
        return
    changed = list(rows)
    ts, x, s, b = changed[at % len(rows)]
    changed[at % len(rows)] = random.choice(
        [
            (None if ts is not None else 0, x, s, b),
            (ts, 7.25 if x != 7.25 else None, s, b),
            (ts, x, None if s is not None else "", b),
            (ts, x, s, not b),
        ]
    )
    assert fingerprint(frame_of(rows)) != fingerprint(frame_of(changed))


@given(ROWS, st.integers(0, 20))
def test_chunks_do_not_count(rows: list[Any], cut: int) -> None:
    whole = frame_of(rows)
    parts = pl.concat([frame_of(rows[:cut]), frame_of(rows[cut:])], rechunk=False)
    assert fingerprint(parts) == fingerprint(whole) == fingerprint(whole.slice(0))
    assert fingerprint(pl.concat([parts, parts], rechunk=False).slice(len(rows))) == fingerprint(whole)


def test_how_nulls_are_kept_does_not_count() -> None:
    mask_kept = pl.DataFrame({"x": pl.Series([None, 1.0, 2.0]).slice(1)})
    assert fingerprint(mask_kept) == fingerprint(pl.DataFrame({"x": [1.0, 2.0]}))
    # The bytes below a null are anybody's.
    hidden = pl.DataFrame({"x": [5.0, 1.0]}).with_columns(x=pl.when(pl.col("x") < 2).then("x"))
    assert fingerprint(hidden) == fingerprint(pl.DataFrame({"x": [None, 1.0]}))


def test_the_payload_of_nan_and_the_sign_of_zero_do_not_count() -> None:
    bits = np.array([0x7FF8000000000001, 0xFFF8000000000000, 0x8000000000000000], dtype=np.uint64)
    odd = pl.DataFrame({"x": bits.view(np.float64)})
    assert fingerprint(odd) == fingerprint(pl.DataFrame({"x": [float("nan"), float("nan"), 0.0]}))


def test_names_types_order_and_height_count() -> None:
    frame = pl.DataFrame({"a": [1, 2], "b": [3, 4]})
    others = [
        frame.rename({"a": "c"}),
        frame.select("b", "a"),
        frame.with_columns(pl.col("a").cast(pl.Int32)),
        frame.with_columns(pl.col("a").cast(pl.Float64)),
        frame.head(1),
        frame.select("a"),
        frame.clear(),
        pl.DataFrame(),
        frame.select(pl.col("a").cast(pl.Datetime("ns", "UTC"))),
        frame.select(pl.col("a").cast(pl.Datetime("us", "UTC"))),
        frame.select(pl.col("a").cast(pl.Datetime("ns"))),
        frame.select(pl.col("a").cast(pl.Duration("ns"))),
    ]
    assert len({fingerprint(each) for each in [frame, *others]}) == len(others) + 1


def test_texts_do_not_run_into_each_other() -> None:
    assert fingerprint(pl.DataFrame({"s": ["ab", "c"]})) != fingerprint(pl.DataFrame({"s": ["a", "bc"]}))
    assert fingerprint(pl.DataFrame({"s": [""]})) != fingerprint(
        pl.DataFrame({"s": [None]}, {"s": pl.String})
    )


def test_categories_are_texts() -> None:
    texts = pl.DataFrame({"series": ["a", "b", "a"]})
    for kind in (pl.Categorical(), pl.Enum(["b", "a"])):
        assert fingerprint(texts.cast(kind)) == fingerprint(texts)


def test_the_hash_is_promised_for_ever() -> None:
    """Archived reports hold these texts: a change of the rules needs a new format name, and a new test."""
    ts = np.array([0, 60_000_000_000], dtype=np.int64)
    frame = bars(ts, {name: np.array([1.5, 2.5]) for name in ("open", "high", "low", "close", "volume")})
    assert fingerprint(frame) == "blake3:631934c9c46e89fa554044f995b4ba89b70c2b41da3d6fda4acb54142900f695"
    assert (
        fingerprint(empty_bars()) == "blake3:7b893ce60ffc0c71d62b019830131d030117fbd50e837e644b0d0584b83f1224"
    )
    assert frame.schema == BAR_SCHEMA


def test_what_has_no_rule_is_refused() -> None:
    with pytest.raises(TypeError, match="List"):
        fingerprint(pl.DataFrame({"x": [[1]]}))
