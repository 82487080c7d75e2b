"""Act four: a file as people have them, looked at and read by the line that the look shows."""

from __future__ import annotations

import shlex
from pathlib import Path

from qmtl.foundation.errors import QmtlError
from qmtl.interfaces.demo.commands import run
from qmtl.interfaces.demo.stage import Stage
from qmtl.runtime.io.bar_files.look import look_at, text_of
from qmtl.runtime.sdk.provider import SeamlessDataProvider

SERIES = "ohlcv:demo:STAHL:1d"
NAME = "kurse.csv"
# Excel of a German desk: a title, cp1252, decimal commas, points between thousands, newest first, a sum.
MESSY = """Kursliste für Stahl AG
Datum;Eröffnung;Hoch;Tief;Schluss;Stück
15.03.2024;1.182,50;1.190,00;1.180,25;1.188,75;12.400
14.03.2024;1.175,00;1.184,50;1.171,00;1.182,50;9.850
13.03.2024;1.169,25;1.178,00;1.165,50;1.175,00;11.020
12.03.2024;1.171,50;1.173,75;1.160,00;1.169,25;8.730
11.03.2024;1.160,00;1.172,25;1.158,50;1.171,50;10.115
Summe;;;;;52.115
"""
FIRST, LAST = (1160.0, 1172.25, 1158.5, 1171.5, 10115.0), (1182.5, 1190.0, 1180.25, 1188.75, 12400.0)


def messy_file(stage: Stage, folder: Path) -> None:
    """Show what a plain import says of the file, look at it, and run the line of the look."""
    stage.act("Act four: a file from somebody's desk")
    path = folder / NAME
    path.write_bytes(MESSY.encode("cp1252"))
    look = look_at(path, series=SERIES)
    for line in text_of(look).splitlines():
        stage.say(f"  {line}")
    stage.check("one way of reading it fits, and it is shown", len(look.readings) == 1)
    if not look.readings:
        return
    command = shlex.split(look.commands()[0])
    stage.say("  That line is typed now, word by word:")
    done = run(["--store", str(folder / "bars"), *command[1:]], folder)
    for line in (done.stdout + done.stderr).splitlines():
        stage.say(f"    {line}")
    stage.check("it is accepted", done.returncode == 0)
    with SeamlessDataProvider(folder / "bars", vendors={}) as provider:
        try:
            frame = provider.fetch(SERIES, "2024-03-11", "2024-03-16", strategy="FAIL_FAST").frame
        except QmtlError as error:
            stage.error(error)
            stage.check("the bars of the file can be read", False)
            return
    bars = [row[1:] for row in frame.rows()]
    stage.check("the first and the last bar are those of the file", (bars[0], bars[-1]) == (FIRST, LAST))
