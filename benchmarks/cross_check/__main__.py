"""python -m benchmarks.cross_check [--peer PYTHON] [--record]: the same strategies, here and in backtrader.

Both read the same real daily bars. backtrader is a peer, and no dependency: it is installed into an
environment of its own, unless `--peer` names an interpreter that has it. `--record` keeps what it gave, so
that tests hold this package against it without it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

from benchmarks.cross_check import ours
from benchmarks.cross_check.comparison import differences, shortfalls

RECORDED = Path(__file__).with_name("backtrader.json")
PEER = Path(__file__).with_name("peer.py")


def main() -> int:
    """0 where there is no difference but the one that is explained."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cross_check")
    parser.add_argument("--peer", metavar="PYTHON", help="an interpreter that has backtrader")
    parser.add_argument("--record", action="store_true", help=f"write {RECORDED.name}")
    options = parser.parse_args()
    recorded: dict[str, Any] = {}
    found: list[str] = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        peer = options.peer or _installed(folder / "peer")
        print("| bars | case | fills | differ | equity at the end | greatest difference of a day |")
        print("| --- | --- | --- | --- | --- | --- |")
        for symbol in ours.SYMBOLS:
            bars = ours.write_bars(folder, symbol)
            for case in ours.CASES:
                mine = ours.run(folder, symbol, case)
                theirs = json.loads(_ran(peer, str(PEER), str(bars), case))
                recorded["version"] = theirs.pop("version")
                if case == "all in":
                    short = shortfalls(theirs, bars)
                    print(
                        f"| {symbol} | {case} | {len(mine['fills'])} | {len(short)} refused there, short of "
                        f"{min(short):,.2f} to {max(short):,.2f} | {mine['equity'][-1][1]:,.2f} | |"
                    )
                    if theirs["fills"] or not min(short) > 0:
                        found.append(f"{symbol} {case}: a refusal that the cash does not explain")
                else:
                    found += [f"{symbol} {case}: {one}" for one in differences(mine, theirs)]
                    apart = max(
                        abs(a[1] - b[1]) for a, b in zip(mine["equity"], theirs["equity"], strict=True)
                    )
                    print(
                        f"| {symbol} | {case} | {len(mine['fills'])} | {len(differences(mine, theirs))} | "
                        f"{mine['equity'][-1][1]:,.2f} | {apart:.0e} |"
                    )
                recorded[f"{symbol} {case}"] = {**theirs, "equity": _month_ends(theirs["equity"])}
    print(f"\nbacktrader {recorded['version']}, {len(found)} differences that are not explained")
    for one in found:
        print(one, file=sys.stderr)
    if options.record:
        RECORDED.write_text(json.dumps(recorded, indent=0) + "\n", encoding="utf-8")
    return 1 if found else 0


def _month_ends(equity: list[list[Any]]) -> list[list[Any]]:
    return list({day[:7]: [day, value] for day, value in equity}.values())


def _installed(folder: Path) -> str:
    venv.create(folder, with_pip=True)
    python = str(folder / ("Scripts" if sys.platform == "win32" else "bin") / "python")
    _ran(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "backtrader")
    return python


def _ran(*command: str) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    sys.exit(main())
