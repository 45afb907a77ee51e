"""How often Python looks for garbage in a service."""

import subprocess
import sys

PROGRAM = """
import gc
from builder.host import garbage

looks = []
gc.callbacks.append(lambda phase, info: looks.append(info["generation"]) if phase == "start" else 0)


def counted():
    looks.clear()
    kept = [[] for _ in range(200_000)]
    return len(looks), looks.count(2)


usual, _ = counted()
garbage.settle()
assert gc.get_freeze_count() > 1000
settled, of_all = counted()
assert 0 < settled < usual / 2, (settled, usual)
assert of_all == 0
ring = []
ring.append(ring)
del ring
assert gc.collect() >= 1
"""


def test_what_is_alive_is_left_alone() -> None:
    """A few hundred thousand new objects bring few looks, and none of them at everything; what is
    garbage is still found."""
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, timeout=120)
