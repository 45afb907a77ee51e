"""What is freed stays, and comes back without a fault."""

import subprocess
import sys

from builder.host import heap

FAULTS = """
import resource, sys
from builder.host import heap
assert not sys.argv[1:] or heap.keep_freed()
for turn in range(40):
    if turn == 20:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    pieces = [bytes(b"x" * 512 * 1024) for _ in range(8)]
    del pieces
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(*arguments: str) -> int:
    command = [sys.executable, "-c", FAULTS, *arguments]
    return int(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def test_memory_that_comes_and_goes_is_kept() -> None:
    """Without it each megabyte costs 256 page faults, again and again."""
    assert faults("kept") * 10 < faults()


def test_it_may_be_said_twice() -> None:
    """Where the C library knows it, it says yes each time."""
    assert heap.keep_freed() == heap.keep_freed()
