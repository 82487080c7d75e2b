"""Takes from this process, for good, all files but some, writing, other programs and sockets; on Linux.

Files by Landlock (Linux 5.13), sockets by a filter of system calls; neither needs a privilege. Threads and
children that begin afterwards inherit both, and nobody can lift them. Only the standard library is imported,
since a thread that was there before would stay free.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import struct
import sys
from collections.abc import Iterable

# See landlock(7). The numbers of these calls are the same on all machines.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_ASK_VERSION = 1
_PATH_BENEATH = 1
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
# How many rights there are, by version; later ones add others than of files.
_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}
_ALL_RIGHTS = 16

# See prctl(2), seccomp(2) and linux/audit.h.
_SET_DEATH_SIGNAL, _SET_SECCOMP, _NO_NEW_PRIVILEGES = 1, 22, 38
_FILTER = 2
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050001  # the latter with EPERM
_LOAD, _IF_EQUAL, _IF_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER_AT, _MACHINE_AT = 0, 4
_IO_URING = 425  # it would open sockets without a system call for each
# The machine as the kernel names it, and its numbers of `socket` and `socketpair`.
_MACHINES = {"x86_64": (0xC000003E, 41, 53), "aarch64": (0xC00000B7, 198, 199)}
_OTHER_NUMBERS = 0x40000000  # of the x32 calls of x86_64


def why_not() -> str | None:
    """Why this system cannot do it; None where it can."""
    if sys.platform != "linux":
        return f"it takes Linux, and this is {sys.platform}"
    if platform.machine() not in _MACHINES:
        return (
            f"the numbers of system calls are known for {' and '.join(_MACHINES)}, not {platform.machine()}"
        )
    if _call(_CREATE_RULESET, None, 0, _ASK_VERSION) < 1:
        return f"Linux {platform.release()} has no Landlock, or it is switched off"
    return None


def restrict(readable: Iterable[str], listed: Iterable[str]) -> None:
    """From now on only `readable` files and folders can be read, and names be listed in `listed` folders.

    Raises `OSError` where the system refuses, and where there are other threads already.
    """
    if len(os.listdir("/proc/self/task")) != 1:
        raise OSError("there are other threads, which would stay free")
    _checked(_libc().prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0), "no new privileges")
    version = _checked(_call(_CREATE_RULESET, None, 0, _ASK_VERSION), "Landlock")
    every = struct.pack("=Q", (1 << _RIGHTS.get(version, _ALL_RIGHTS)) - 1)
    ruleset = _checked(_call(_CREATE_RULESET, every, len(every), 0), "Landlock")
    for path in readable:
        _allow(ruleset, path, _READ_FILE | _READ_DIR)
    for path in listed:
        _allow(ruleset, path, _READ_DIR)
    _checked(_call(_RESTRICT_SELF, ruleset, 0), "Landlock")
    os.close(ruleset)
    _refuse_sockets()


def die_with_parent() -> None:
    """Have the kernel end this process when the thread that started it ends."""
    _checked(_libc().prctl(_SET_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0), "to die with its parent")


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not os.path.isdir(path):
            rights &= _READ_FILE
        rule = struct.pack("=Qi", rights, place)
        _checked(_call(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0), f"Landlock, {path}")
    finally:
        os.close(place)


def _refuse_sockets() -> None:
    machine, *numbers = _MACHINES[platform.machine()]
    refused = [(_IF_AT_LEAST, _OTHER_NUMBERS), *((_IF_EQUAL, number) for number in (*numbers, _IO_URING))]
    steps = [(_LOAD, 0, 0, _MACHINE_AT), (_IF_EQUAL, 1, 0, machine), (_RETURN, 0, 0, _REFUSE)]
    steps.append((_LOAD, 0, 0, _NUMBER_AT))
    steps += [(test, len(refused) - place, 0, value) for place, (test, value) in enumerate(refused)]
    steps += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _REFUSE)]
    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    pointer = struct.pack("@HP", len(steps), ctypes.addressof(program))
    _checked(_libc().prctl(_SET_SECCOMP, _FILTER, pointer, 0, 0), "a filter of system calls")


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _call(number: int, *arguments: int | bytes | None) -> int:
    """A system call by its number."""
    longs = (ctypes.c_long(value) if isinstance(value, int) else value for value in arguments)
    return int(_libc().syscall(ctypes.c_long(number), *longs))


def _checked(answer: int, what: str) -> int:
    if answer < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{os.strerror(code)} ({what})")
    return answer
