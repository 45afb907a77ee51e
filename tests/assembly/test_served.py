"""README says what is served, and nothing else is."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_table_of_what_is_served_is_up_to_date() -> None:
    """As a coordinator registers it; `.ci/run fix` writes it anew."""
    check = [sys.executable, ROOT / ".ci" / "served_table.py", "--check"]
    done = subprocess.run(check, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
