"""No setting is set in vain."""

import re
from pathlib import Path

import pytest

from builder.config.settings import Settings
from builder.config.showing import Shown, shown

ROOT = Path(__file__).parents[2] / "builder"
READERS = [
    path
    for room in ("assembly", "cli")
    for path in (ROOT / room).glob("*.py")
    if (room, path.name) not in {("assembly", "settings.py"), ("cli", "config.py")}
]
CODE = "\n".join(path.read_text() for path in READERS)
CHECKED = {"insecure"}  # only a check asks for it


@pytest.mark.parametrize("one", shown(Settings(), {}), ids=lambda one: ".".join(map(str, one.path)))
def test_every_setting_is_read(one: Shown) -> None:
    """By assembly or by a command."""
    key = ".".join(map(str, one.path))
    if key in CHECKED:
        return
    assert re.search(rf"\.{one.path[-1]}\b", CODE), f"nobody reads {key}"
