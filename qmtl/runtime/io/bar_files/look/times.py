"""Which ways of reading a stamp fit the stamps of a file: every one of them, and no favourite."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

_INTEGER = re.compile(r"\d{4,20}")
_FLOAT = re.compile(r"\d{4,20}\.\d*|\d(?:\.\d+)?[eE]\+?\d{1,2}")
_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_EXCEL = re.compile(r"[2-6]\d{4}(?:\.\d+)?")

# Dates as text: a pattern, and the formats that it may be. Where day and month could change places, and where
# a year has two digits, there are several.
_DATES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"\d{4}-\d{1,2}-\d{1,2}", ("%Y-%m-%d",)),
    (r"\d{4}/\d{1,2}/\d{1,2}", ("%Y/%m/%d",)),
    (r"\d{4}\.\d{1,2}\.\d{1,2}", ("%Y.%m.%d",)),
    (r"\d{1,2}/\d{1,2}/\d{4}", ("%d/%m/%Y", "%m/%d/%Y")),
    (r"\d{1,2}\.\d{1,2}\.\d{4}", ("%d.%m.%Y", "%m.%d.%Y")),
    (r"\d{1,2}-\d{1,2}-\d{4}", ("%d-%m-%Y", "%m-%d-%Y")),
    (r"\d{1,2}/\d{1,2}/\d{2}", ("%d/%m/%y", "%m/%d/%y", "%y/%m/%d")),
    (r"\d{1,2}\.\d{1,2}\.\d{2}", ("%d.%m.%y", "%m.%d.%y", "%y.%m.%d")),
    (r"\d{1,2}-\d{1,2}-\d{2}", ("%d-%m-%y", "%m-%d-%y", "%y-%m-%d")),
    (r"\d{8}", ("%Y%m%d", "%d%m%Y", "%m%d%Y")),
    (r"\d{6}", ("%y%m%d", "%d%m%y", "%m%d%y")),
    (r"\d{1,2}-[A-Za-z]{3}-\d{4}", ("%d-%b-%Y",)),
    (r"\d{1,2}-[A-Za-z]{3}-\d{2}", ("%d-%b-%y", "%y-%b-%d")),
    (r"\d{1,2} [A-Za-z]{3} \d{4}", ("%d %b %Y",)),
    (r"\d{1,2} [A-Za-z]{4,9} \d{4}", ("%d %B %Y",)),
    (r"[A-Za-z]{3} \d{1,2}, \d{4}", ("%b %d, %Y",)),
    (r"[A-Za-z]{4,9} \d{1,2}, \d{4}", ("%B %d, %Y",)),
    (r"[A-Za-z]{3} \d{1,2} \d{4}", ("%b %d %Y",)),
    (r"\d{4}年\d{1,2}月\d{1,2}日", ("%Y年%m月%d日",)),
)
_CLOCKS: tuple[tuple[str, str], ...] = (
    (r"\d{1,2}:\d{2}:\d{2}\.\d{1,9} ?[AaPp][Mm]", "%I:%M:%S.%f %p"),
    (r"\d{1,2}:\d{2}:\d{2} [AaPp][Mm]", "%I:%M:%S %p"),
    (r"\d{1,2}:\d{2}:\d{2}[AaPp][Mm]", "%I:%M:%S%p"),
    (r"\d{1,2}:\d{2} [AaPp][Mm]", "%I:%M %p"),
    (r"\d{1,2}:\d{2}[AaPp][Mm]", "%I:%M%p"),
    (r"\d{1,2}-[AaPp][Mm]", "%I-%p"),
    (r"\d{1,2}:\d{2}:\d{2}\.\d{1,9}", "%H:%M:%S.%f"),
    (r"\d{1,2}:\d{2}:\d{2},\d{1,9}", "%H:%M:%S,%f"),
    (r"\d{1,2}:\d{2}:\d{2}", "%H:%M:%S"),
    (r"\d{1,2}:\d{2}", "%H:%M"),
    (r"\d{6}", "%H%M%S"),
    (r"\d{4}", "%H%M"),
)
_NAMED = r"[A-Z]{3,4}|[A-Z][A-Za-z_]+/[A-Za-z_/+-]+"
_ZONE = rf"Z|GMT[+-]\d{{2}}:?\d{{2}}|[+-]\d{{2}}(?::?\d{{2}})?|{_NAMED}"
_SHAPES = tuple(
    (
        re.compile(rf"(?P<day>[A-Za-z]{{3,9}},? )?(?P<date>{date})(?P<gap>T| +|, | at |[;,-])?(?P<rest>.*)"),
        forms,
    )
    for date, forms in _DATES
)
_RESTS = tuple((re.compile(rf"(?:{clock})(?P<space> *)(?P<zone>{_ZONE})?"), form) for clock, form in _CLOCKS)
_FORMS = 3  # in which the times of one file may be written
_UNIT_WORDS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}


@dataclass(frozen=True)
class TimeReading:
    """One way to read the stamps: the options that ask for it, and what it takes them for."""

    options: dict[str, Any]
    what: str


def readings_of(stamps: Sequence[str]) -> tuple[TimeReading, ...]:
    """All ways in which every one of these texts may be a time with a date; none if they are no times."""
    texts = [text.strip() for text in stamps if text.strip()]
    return (*_spreadsheet_days(texts), *_written(texts), *_counted(texts)) if texts else ()


def date_formats(texts: Sequence[str]) -> tuple[str, ...]:
    """The formats of dates without a time that fit all texts."""
    return tuple(
        form for form in (list(_formats_of(texts)) or _mixed(texts)) if not re.search(r"%[HI]", form)
    )


def clock_formats(texts: Sequence[str]) -> tuple[str, ...]:
    """The formats of times of a day without a date that fit all texts."""
    return tuple(form for clock, form in _CLOCKS if texts and all(re.fullmatch(clock, t) for t in texts))


def is_falling(stamps: Sequence[str]) -> bool:
    """Whether the first stamp is later than the last, as far as a look can tell."""
    texts = [text.strip() for text in stamps if text.strip()]
    if len(texts) < 2:
        return False
    ends = [texts[0], texts[-1]]
    for reading in readings_of(ends):
        if "unit" in reading.options:
            return float(ends[0]) > float(ends[1])
        form = reading.options["ts_format"].split("|")[0].split("%z")[0].rstrip("GMT ")
        try:
            first, last = (datetime.strptime(re.sub(rf" *({_ZONE})$", "", text), form) for text in ends)
        except ValueError:
            continue
        return first > last
    return False


def _spreadsheet_days(texts: Sequence[str]) -> Iterator[TimeReading]:
    if all(_EXCEL.fullmatch(text) for text in texts):
        yield TimeReading({"unit": "excel"}, "days of a spreadsheet, counted from 1899-12-30")


def _counted(texts: Sequence[str]) -> Iterator[TimeReading]:
    """Counts of a unit since 1970: size alone proves none."""
    if all(_INTEGER.fullmatch(text) or _FLOAT.fullmatch(text) for text in texts):
        for unit, length in _SECONDS.items():
            if all(0 < float(text) * length < 9.2e9 for text in texts):
                yield TimeReading({"unit": unit}, f"{_UNIT_WORDS[unit]} since 1970")


def _written(texts: Sequence[str]) -> Iterator[TimeReading]:
    zone = re.search(rf" ({_NAMED})$", texts[0])
    for form in list(_formats_of(texts)) or _mixed(texts):
        options = {"ts_format": form}
        if zone is not None and form.endswith(zone[1]) and zone[1] not in ("UTC", "GMT"):
            options["tz"] = zone[1]
        yield TimeReading(options, f"times written as {form}")


def _formats_of(texts: Sequence[str]) -> Iterator[str]:
    """Formats whose date fits all texts. The time of day is that of the longest: midnight may be left out."""
    for length, form in ((14, "%Y%m%d%H%M%S"), (12, "%Y%m%d%H%M")):
        if all(len(text) == length and text.isdecimal() for text in texts):
            if all(_is_date(text[:8], "%Y%m%d") for text in texts):
                yield form
            return
    longest = max(texts, key=len, default="")
    for shape, forms in _SHAPES:
        matches = [match for text in texts if (match := shape.fullmatch(text))]
        if len(matches) < len(texts):
            continue
        rest = _rest_of(shape.fullmatch(longest))
        if rest is None:
            continue
        dates = {match["date"] for match in matches}
        # R and spreadsheets leave out the time of a midnight.
        bare = bool(rest[1].strip()) and any(not match["rest"] for match in matches)
        for form in forms:
            if all(_is_date(date, form) for date in dates):
                yield rest[0] + form + rest[1] + (f"|{rest[0]}{form}" if bare else "")
        return


def forms_of(texts: Sequence[str]) -> dict[str, list[int]]:
    """The forms in which times are written, digits as 0, with the places of the texts of each.

    One digit or two of a day make no form of their own.
    """
    found: dict[str, list[int]] = {}
    for place, text in enumerate(texts):
        if text.strip():
            found.setdefault(re.sub(r"[0-9]+", "0", text.strip()), []).append(place)
    return found


def _mixed(texts: Sequence[str]) -> Iterator[str]:
    """Formats for texts of several forms, one for each form; none if some form is no time."""
    forms = forms_of(texts)
    if not 1 < len(forms) <= _FORMS:
        return
    each = [list(_formats_of([texts[place] for place in places])) for places in forms.values()]
    for chosen in itertools.product(*each):
        zoned = {"%z" in form for form in chosen}
        if len(zoned) == 1 and len(set(chosen)) == len(chosen):
            yield "|".join(chosen)


def _rest_of(match: re.Match[str] | None) -> tuple[str, str] | None:
    """The formats of what stands before and behind the date."""
    if match is None:
        return None
    day, gap = match["day"] or "", match["gap"] or ""
    name = day.rstrip(", ")
    before = day and ("%a" if len(name) == 3 else "%A") + day[len(name) :]
    if not match["rest"]:
        return before, gap
    for clock, form in _RESTS:
        found = clock.fullmatch(match["rest"])
        if found is not None:
            zone = "" if found["zone"] is None else found["space"] + _zone_format(found["zone"])
            return before, gap + form + zone
    return None


def _zone_format(zone: str) -> str:
    if zone == "Z" or zone[0] in "+-":
        return "%z"
    # The name of a zone is text like any other; every stamp must bear the same.
    return "GMT%z" if zone.startswith("GMT") and len(zone) > 3 else zone


def _is_date(text: str, form: str) -> bool:
    try:
        datetime.strptime(text, form)
    except ValueError:
        return False
    return True
