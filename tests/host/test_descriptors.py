"""How many files a process may have open."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
SCRIPT = """
import resource
from builder.host.descriptors import FOR_ACTIONS, allow_many, allow_usual
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
allow_many()
assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
allow_usual()
assert resource.getrlimit(resource.RLIMIT_NOFILE) == (min(hard, FOR_ACTIONS), hard)
resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
allow_usual()
assert resource.getrlimit(resource.RLIMIT_NOFILE) == (100, hard)
"""


def test_a_service_gets_many_and_an_action_the_usual_number() -> None:
    """A limit that is lower already stays."""
    subprocess.run([sys.executable, "-c", SCRIPT], cwd=ROOT, check=True)
