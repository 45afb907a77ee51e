"""Signals by the interpreter's own core module: `signal` itself loads enum and more."""

import os
from _signal import (  # type: ignore[import-not-found]  # has no stub; signal re-exports it
    SIG_BLOCK,
    SIG_DFL,
    SIG_IGN,
    SIGCHLD,
    SIGCONT,
    SIGKILL,
    SIGPIPE,
    SIGTERM,
    SIGXFSZ,
    pidfd_send_signal,
    pthread_sigmask,
    signal,
)

from builder.sandbox.kernel.syscalls import call

__all__ = [
    "SIGCHLD",
    "SIGCONT",
    "SIGKILL",
    "SIGPIPE",
    "SIGTERM",
    "SIGXFSZ",
    "SIG_BLOCK",
    "SIG_DFL",
    "SIG_IGN",
    "arrivals",
    "pidfd_send_signal",
    "pthread_sigmask",
    "signal",
]


def arrivals(number: int) -> int:
    """A descriptor that is readable when this signal is pending, which from now on interrupts
    nothing (signalfd(2))."""
    pthread_sigmask(SIG_BLOCK, (number,))
    mask = (1 << (number - 1)).to_bytes(8, "little")
    return call("signalfd4", -1, mask, len(mask), os.O_CLOEXEC | os.O_NONBLOCK)
