"""Whatever a file holds and whatever is said of it: a look, or a refusal in words, and a line that holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from qmtl.foundation.errors import InvalidRequestError
from qmtl.runtime.io.bar_files.look import Look, look_at, look_below, short_text_of, text_of

HEADERS = (
    ["time", "open", "high", "low", "close", "volume"],
    ["Instr", "When", "Px_Op", "Px_Hi", "Px_Lo", "Px_Cl", "Qty"],
    ["date", "time", "o", "h", "l", "c", "Shares Traded", "note"],
    ["ts", "open", "high", "low", "close"],
    ["a", "a", "b", "", "c,d", "e=f"],
    [],
)
STAMPS = (
    "2024-01-0{d}",
    "0{d}/01/2024",
    "2024-01-02 0{d}:00",
    "2024-11-03 01:{d}0",
    "17040672{d}0",
    "170406720{d}000",
    "4530{d}.5",
    "0{d}:30",
    "2024-01-0{d}T00:00:00Z",
    "x",
    "",
)
CELLS = (
    "1",
    "1.5",
    "1,5",
    "1.234,5",
    "1e3",
    "-",
    "",
    "nan",
    "N/A",
    "5%",
    "AA",
    "BB",
    '"',
    "{}",
    "9" * 25,
    "ü",
    "1\x00",
)
OPTIONS: dict[str, tuple[Any, ...]] = {
    "columns": (
        "ts=date",
        "ts=When,open=Px_Op",
        "ts,open,high,low,close,volume",
        "volume=",
        "close=nope",
        "x",
        {"ts": "time"},
    ),
    "date": ("date", "column 1"),
    "time": ("time", "column 2"),
    "tz": ("America/New_York", "Asia/Kolkata", "Mars/Base", "UTC+3h"),
    "unit": ("s", "ms", "excel", "d"),
    "label": ("open", "close", "session"),
    "scale": ("close=0.01", "nope"),
    "ts_format": ("%Y-%m-%d", "%d/%m/%Y|%Y-%m-%d", "%q"),
    "decimal": (",", "."),
    "thousands": (",", " "),
    "null": ("N/A,-", ["x"]),
    "where": ("Instr=AA", "Instr=*", "a=1", ["column 1=AA"], {"Instr": "BB"}, "no"),
    "encoding": ("cp1252", "utf-16", "utf-16-be", "nope", "ascii", "idna"),
    "skip_head": (1, 50),
    "skip_foot": (1, 50),
    "separator": (";", ",", " ", "x"),
    "table": ("data", "a.b"),
}


@st.composite
def contents(draw: st.DrawFn) -> bytes:
    """A small table in some shape, often not quite one, in some encoding, often cut."""
    header = draw(st.sampled_from(HEADERS))
    mark = draw(st.sampled_from(",;\t| "))
    stamp = draw(st.lists(st.sampled_from(STAMPS), min_size=1, max_size=2))
    cell = st.one_of(st.sampled_from(CELLS), st.floats(1, 99).map(lambda x: f"{x:.2f}"))
    width = max(len(header), 5)
    rows = []
    for k in range(draw(st.integers(0, 8))):
        price = 10 + k
        values = [str(price), str(price + 2), str(price - 1), str(price + 1), "7"]
        if draw(st.booleans()):
            values = draw(st.lists(cell, min_size=width - 1, max_size=width))
        first = [draw(st.sampled_from(["AA", "BB"]))] if header and header[0] == "Instr" else []
        rows.append(mark.join([*first, stamp[k % len(stamp)].format(d=k + 1), *values]))
    foot = draw(st.sampled_from([[], ["Total 5"], ["2024-01"], [""]]))
    text = draw(st.sampled_from(["\n", "\r\n", "\r"])).join([mark.join(header)] * bool(header) + rows + foot)
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1"]))
    data = text.encode(encoding, errors="replace")
    return data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-5, 2 * 10**9), st.sampled_from([*CELLS, "2024-01-02"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=6),
        st.dictionaries(
            st.sampled_from(["t", "o", "h", "l", "c", "v", "data", "2024-01-02", "2024-01-03"]), inner
        ),
    ),
    max_leaves=25,
)
FEW = st.lists(st.sampled_from(sorted(OPTIONS)), max_size=3, unique=True).flatmap(
    lambda names: st.fixed_dictionaries({name: st.sampled_from(OPTIONS[name]) for name in names})
)


def looked_at(path: Path, given_: dict[str, Any], **declared: Any) -> Look | None:
    try:
        look = look_at(path, **declared, **given_)
    except InvalidRequestError:
        return None
    assert text_of(look)
    assert short_text_of(look)
    look.to_json()
    assert bool(look.readings) or look.next_step, text_of(look)
    return look


BIG = settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@BIG
@given(
    data=contents(), options=FEW, suffix=st.sampled_from([".csv", ".txt", ".tsv", ".json", ".foo", ".csv.gz"])
)
def test_of_text(data, options, suffix, tmp_path):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(data)
    look = looked_at(path, options)
    for reading in look.readings if look is not None else ():
        for name, value in options.items():
            if name not in ("columns", "date", "time", "where"):
                assert reading.options[name] == value


@BIG
@given(value=JSON, options=FEW, lines=st.booleans(), cut=st.integers(0, 400))
def test_of_json(value, options, lines, cut, tmp_path):
    path = tmp_path / ("a.jsonl" if lines else "a.json")
    whole = "\n".join(map(json.dumps, value)) if lines and isinstance(value, list) else json.dumps(value)
    path.write_text(whole[:cut] if cut < len(whole) else whole)
    looked_at(path, options)


@BIG
@given(data=contents(), options=FEW, calendar=st.sampled_from([None, "XNYS", "24x7", "nope"]))
@example(data=b"", options={}, calendar=None)
def test_below_a_refusal(data, options, calendar, tmp_path):
    """The line that was refused is not proposed, and none that drops what no file tells."""
    path = tmp_path / "a.csv"
    path.write_bytes(data)
    anchor = "session" if calendar else None
    look = look_below(path, series="ohlcv:m:X:1d", calendar=calendar, anchor=anchor, given=options)
    if look is None:
        return
    assert short_text_of(look)
    for command, reading in zip(look.commands(), look.readings, strict=True):
        kept = {name: options[name] for name in ("tz", "unit", "label", "scale", "table") if name in options}
        if kept.get("label") == "open":
            del kept["label"]
        for name, value in kept.items():
            assert reading.options[name] == value
        assert reading.options != options, command
        if calendar is not None:
            assert f"--calendar {calendar} --anchor session" in command


def test_no_byte_of_a_file_is_lost_where_it_is_cut(tmp_path):
    """Each length of a UTF-16 file: what is proposed reads the very file."""
    from qmtl.runtime.io.bar_files import read_bar_file

    header = "time,open,high,low,close,volume\n"
    data = (header + "".join(f"2024-01-0{d},1{d},14,9,11,5\n" for d in range(1, 6))).encode("utf-16")
    path = tmp_path / "a.csv"
    for size in range(len(data) - 80, len(data) + 1):
        path.write_bytes(data[:size])
        for reading in look_at(path, series="ohlcv:m:X:1d").readings:
            file = read_bar_file(path, timeframe="1d", **reading.options)
            assert file.frame.equals(reading.frame)
        if size % 2:
            assert not look_at(path).readings


@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-be", "cp1252"])
def test_the_end_of_a_long_file_is_tried_byte_by_byte(encoding, ending, tmp_path):
    rows = "".join(f"{1_709_564_400 + 60 * k},10,12,9,11,{k}\n" for k in range(9_000))
    text = ("time,open,high,low,close,volume,Währung\n" + rows.replace("\n", ",€\n")).replace(
        "\n", ending.decode()
    )
    path = tmp_path / "a.csv"
    path.write_bytes((b"\xfe\xff" if encoding == "utf-16-be" else b"") + text.encode(encoding))
    assert [one.options["unit"] for one in look_at(path).readings] == ["s"]
    path.write_bytes(path.read_bytes()[:-9])
    look = look_at(path, unit="s")
    assert look.readings == () or any("cut off" in caution for caution in look.cautions)
