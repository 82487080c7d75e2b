"""No line that a look proposes leaves a bar out, and none is said to read what an import refuses."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest

from qmtl.runtime.io.bar_files.look import Look, look_at, text_of

HEADER = "date,open,high,low,close,volume\n"
DAYS = [date(2024, 1, 1) + timedelta(days=k) for k in range(20)]


def row(k: int, more: str = "") -> str:
    return f"{DAYS[k]},{10 + k},{12 + k},{9 + k},{11 + k},{100 + k}{more}\n"


def look(folder: Path, text: str) -> Look:
    path = folder / "bars.csv"
    path.write_text(text)
    return look_at(path)


@pytest.mark.parametrize("header", ["", HEADER])
@pytest.mark.parametrize("wider", [range(3, 20), range(17, 20), range(19, 20)])
def test_rows_of_another_width_are_not_skipped(header, wider, tmp_path):
    found = look(tmp_path, header + "".join(row(k, ",7" * (k in wider)) for k in range(20)))
    assert not found.readings
    assert found.refusal is not None
    assert "looks like a bar" in found.refusal.error.what
    odd = min(wider) if len(wider) < 10 else 0
    assert DAYS[odd].isoformat() in found.refusal.error.what


def test_nor_rows_without_prices(tmp_path):
    found = look(tmp_path, HEADER + "".join(map(row, range(17))) + f"{DAYS[17]},a,b\n{DAYS[18]},a,b\n")
    assert not found.readings
    assert "'2024-01-18,a,b'" in text_of(found)


def test_remarks_above_and_below_are(tmp_path):
    text = "My export\nfrom 2024,1\n" + HEADER + "".join(map(row, range(20))) + "Total 20\nEnd,1\n"
    found = look(tmp_path, text)
    assert [one.options for one in found.readings] == [{"skip_head": 2, "skip_foot": 2}]


def test_a_word_in_a_column_of_numbers_is_named(tmp_path):
    found = look(tmp_path, HEADER + "".join(map(row, range(19))) + row(19).replace(",30,", ",x,"))
    assert not found.readings
    assert found.refusal is not None
    assert found.refusal.error.what == "column 'close' holds 'x', which is no number"
    assert found.refusal.error.why == "1 of the 20 rows seen are like this: '2024-01-20,29,31,28,x,119'"


def test_what_an_import_refuses_is_shown_beside_the_line(tmp_path):
    found = look(tmp_path, HEADER + "".join(map(row, range(20))) + row(3).replace(",14,", ",13.5,"))
    assert "this reads it, and an import refuses 2 rows (temporal.conflicting_rows) unless" in text_of(found)
