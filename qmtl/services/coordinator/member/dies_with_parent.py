"""Becomes another program, which the kernel ends as soon as the thread that has started this one is gone.

python dies_with_parent.py PID PROGRAM [WORD...], where PID is of the process that starts it. Run as a file,
for a fork in the middle of other threads may do very little, and this is more. Linux only.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(parent: str, program: str, *words: str) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
    if os.getppid() != int(parent):
        return  # it was gone before
    os.execv(program, [program, *words])


if __name__ == "__main__":
    main(*sys.argv[1:])
