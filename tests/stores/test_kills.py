"""Kill -9 at any moment: nothing that was acknowledged is lost, nothing torn is served."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

TREE = Path(__file__).parent.parent.parent


def killed(mode: str, folder: Path, *numbers: int) -> dict[str, object]:
    """What `killing` has found."""
    program = [sys.executable, "-m", "tests.stores.killing", mode, str(folder)]
    done = subprocess.run(
        [*program, *map(str, numbers)], cwd=TREE, stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_kills_under_load_lose_nothing(tmp_path: Path) -> None:
    """Twenty-four kills of a store that three writers fill with small and large blobs."""
    found = killed("load", tmp_path, 24, 1)
    assert found["problems"] == []
    assert found["kills"] == 24
    assert found["acknowledged"] != 0


@pytest.mark.parametrize("part", range(2))
def test_a_kill_at_any_step_loses_nothing(tmp_path: Path, part: int) -> None:
    """Killed before any of the system calls of writing, evicting and checkpointing, it is whole:
    every other of the first, and some of those that come when the store is full."""
    chance = random.Random(part)
    steps = [*range(1 + 2 * part, 60, 4), *(chance.randrange(60, 900) for _ in range(6))]
    found = killed("steps", tmp_path, *steps)
    assert found["problems"] == []
    assert found["kills"] == len(steps)
