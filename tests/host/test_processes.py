"""What a process and its descendants use."""

import os
import subprocess
import sys

from builder.host.processes import Family, children, family

SCRIPT = """
import subprocess, sys
held = b"x" * (64 << 20)
script = "held = b'x' * (64 << 20); print(flush=True); input()"
child = subprocess.Popen([sys.executable, "-c", script])
while sum(range(10**5)) and __import__("time").process_time() < 0.1:
    pass
child.wait()
"""


def test_a_family_is_counted_together() -> None:
    """The memory of the child counts, too, and the processor time of both."""
    parent = subprocess.Popen(
        [sys.executable, "-c", SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        while (found := family(parent.pid)).user_s + found.system_s < 0.1:
            pass
        assert len(children(parent.pid)) == 1
        assert found.resident_bytes > 128 << 20
        parent.communicate(b"\n")
    assert family(parent.pid) == Family()


def test_this_process_is_there() -> None:
    assert family(os.getpid()).resident_bytes > 1 << 20
