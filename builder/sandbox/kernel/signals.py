"""Signals by the interpreter's own core module: `signal` itself loads enum and more."""

from _signal import (  # type: ignore[import-not-found]  # has no stub; signal re-exports it
    SIG_DFL,
    SIG_IGN,
    SIGCHLD,
    SIGCONT,
    SIGKILL,
    SIGPIPE,
    SIGTERM,
    SIGXFSZ,
    pidfd_send_signal,
    set_wakeup_fd,
    signal,
)

__all__ = [
    "SIGCHLD",
    "SIGCONT",
    "SIGKILL",
    "SIGPIPE",
    "SIGTERM",
    "SIGXFSZ",
    "SIG_DFL",
    "SIG_IGN",
    "nothing",
    "pidfd_send_signal",
    "set_wakeup_fd",
    "signal",
]


def nothing(_number: int, _frame: object) -> None:
    """A handler: with one in place the wake-up descriptor is written."""
