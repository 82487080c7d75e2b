"""Write into the audit log which bundle of schemas is in force: the same as `qmtl schema audit append`.

uv run python scripts/schema/audit_log.py --bundle schemas/v1 --note "ohlcv 1m v1 canary"
"""

from __future__ import annotations

import sys

from qmtl.interfaces.cli.main import app

if __name__ == "__main__":
    app(["schema", "audit", "append", *sys.argv[1:]])
