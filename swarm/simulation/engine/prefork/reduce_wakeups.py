"""Makes an idle worker wake up seldom.

An idle Ray worker looks for signals a hundred times a second, through a timer file, and its gRPC
threads wake up almost as often. That takes 0.7% of a core each, so 256 idle workers keep two cores
busy. Two settings reduce this; they delay timeouts, but no message. The kernel may let timeouts be
late by ``SLACK_SECONDS``. That does not hold for timer files, so the process may not create any:
Ray's event loop then puts its timeouts into its ``epoll_wait``.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct

SLACK_SECONDS = 0.1
EXACT_NANOSECONDS = 50_000  # as the kernel has it by default
PR_SET_TIMERSLACK, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 29, 22, 38
SECCOMP_MODE_FILTER, SECCOMP_RET_ERRNO, SECCOMP_RET_ALLOW = 2, 0x0005_0000, 0x7FFF_0000
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06  # instructions of a seccomp filter (classic BPF)
# the kernel's number of the architecture, and that of the system call
TIMERFD_CREATE = {"x86_64": (0xC000_003E, 283), "aarch64": (0xC000_00B7, 85)}


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def exact_timeouts() -> None:
    """Make this thread sleep no longer than it asks for, also after :func:`reduce_wakeups`."""
    if platform.system() == "Linux":
        ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, ctypes.c_ulong(EXACT_NANOSECONDS), 0, 0, 0)


def reduce_wakeups() -> None:
    """Make this process and those it starts wake up seldom; settings that the kernel does not know
    are skipped."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_TIMERSLACK, ctypes.c_ulong(round(SLACK_SECONDS * 1e9)), 0, 0, 0)
    if platform.machine() not in TIMERFD_CREATE:
        return
    architecture, call = TIMERFD_CREATE[platform.machine()]
    refuse = SECCOMP_RET_ERRNO | errno.ENOSYS
    steps = [  # operation, steps to skip if equal, and if not, value
        (LOAD, 0, 0, 4),
        (JUMP_IF_EQUAL, 0, 3, architecture),
        (LOAD, 0, 0, 0),
        (JUMP_IF_EQUAL, 0, 1, call),
        (RETURN, 0, 0, refuse),
        (RETURN, 0, 0, SECCOMP_RET_ALLOW),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    program = _Program(len(steps), ctypes.cast(code, ctypes.c_void_p))
    # Without this only root may install a filter.
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0:
        libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0)
