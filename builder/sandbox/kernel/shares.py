"""One runner's part of what the kernel counts for a user in all of its user namespaces.

No limit of a process bounds these, so one action could use up what its user may have, and all
others of the host would get none. A namespace has bounds of its own beside the user's.
"""

# ruff: noqa: SIM105 - contextlib is not in the core that the helpers import

from builder.host.cgroups import read_text
from builder.sandbox.kernel.identity import write_file

PART = 4  # none may have more than a quarter
COUNTED = ("instances", "watches")
OWN, OF_ALL = "/proc/sys/user/max_inotify_{}", "/proc/sys/fs/inotify/max_user_{}"


def take() -> None:
    """In a user namespace of one's own, by a view of /proc that can be written."""
    for name in COUNTED:
        try:
            write_file(OWN.format(name), str(int(read_text(OF_ALL.format(name))) // PART))
        except OSError:
            pass  # older kernels have no such bounds, and some hosts' security modules guard them
