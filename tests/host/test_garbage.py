"""How often Python looks for garbage in a service."""

import subprocess
import sys

PROGRAM = """
import gc
from builder.host import garbage

garbage.settle()
assert gc.get_freeze_count() > 1000
looks = []
gc.callbacks.append(lambda phase, info: looks.append(info["generation"]) if phase == "start" else 0)
kept = [[] for _ in range(200_000)]
assert 20 < looks.count(0) < 40, looks
assert 2 < looks.count(1) < 10, looks
assert 2 not in looks
ring: list = []
ring.append(ring)
del ring, kept
assert gc.collect() >= 1
"""


def test_what_is_alive_is_left_alone() -> None:
    """A few hundred thousand new objects bring no look at all of them; cycles are found."""
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, timeout=120)
