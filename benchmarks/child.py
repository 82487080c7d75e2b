"""One case in a process of its own, so that no case disturbs the next.

python -m benchmarks.child NAME full|tiny FOLDER FILE

Writes the figures to FILE, as a JSON list, or as a JSON text why the case was skipped.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from benchmarks import catalogue
from benchmarks.figures import Skipped
from benchmarks.sizes import FULL, TINY


def main(name: str, size: str, folder: str, file: str) -> None:
    try:
        figures = catalogue.run(name, {"full": FULL, "tiny": TINY}[size], Path(folder))
        outcome: object = [figure.to_json() for figure in figures]
    except Skipped as reason:
        outcome = str(reason)
    Path(file).write_text(json.dumps(outcome), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
