"""Signals by the interpreter's own core module: `signal` itself loads enum and more."""

# ruff: noqa: SIM105 - contextlib is not in the core that the helpers import

import os
from _signal import (  # type: ignore[import-not-found]  # has no stub; signal re-exports it
    SIG_BLOCK,
    SIG_DFL,
    SIG_IGN,
    SIGCHLD,
    SIGCONT,
    SIGKILL,
    SIGPIPE,
    SIGSTOP,
    SIGTERM,
    SIGXFSZ,
    pidfd_send_signal,
    pthread_sigmask,
    signal,
)

from builder.sandbox.kernel.syscalls import call

INFO_BYTES = 128

__all__ = [
    "EVERY",
    "SIGCHLD",
    "SIGCONT",
    "SIGKILL",
    "SIGPIPE",
    "SIGSTOP",
    "SIGTERM",
    "SIGXFSZ",
    "SIG_BLOCK",
    "SIG_DFL",
    "SIG_IGN",
    "arrivals",
    "forget",
    "pidfd_send_signal",
    "pthread_sigmask",
    "signal",
]


# All that can have another meaning than the kernel's; the C library keeps two for itself.
EVERY = tuple(number for number in range(1, 65) if number not in (SIGKILL, SIGSTOP, 32, 33))


def arrivals(number: int) -> int:
    """A descriptor that is readable when this signal is pending, which from now on interrupts
    nothing (signalfd(2))."""
    pthread_sigmask(SIG_BLOCK, (number,))
    mask = (1 << (number - 1)).to_bytes(8, "little")
    return call("signalfd4", -1, mask, len(mask), os.O_CLOEXEC | os.O_NONBLOCK)


def forget(arrived: int) -> None:
    """What has arrived at this descriptor, and was waited for otherwise."""
    try:
        os.read(arrived, INFO_BYTES)
    except BlockingIOError:
        pass  # nothing has
