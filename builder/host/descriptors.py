"""How many files a process may have open: enough for a service, no surprise for an action."""

import fcntl
import os
import resource

FOR_ACTIONS = 4096  # the same on every worker, whatever its host's default is
ASIDE = 100


def allow_many() -> None:
    """As many as the host lets us: a service has a descriptor for each connection and upload."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def allow_usual() -> None:
    """At most FOR_ACTIONS, for this process and all that it starts; they may raise it again."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft > FOR_ACTIONS:
        resource.setrlimit(resource.RLIMIT_NOFILE, (FOR_ACTIONS, hard))


def aside(fd: int) -> int:
    """The same where it is in nobody's way: an action's limit is on the numbers of descriptors."""
    moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, ASIDE)
    os.close(fd)
    return moved
