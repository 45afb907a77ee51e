"""What was probably meant."""

import pytest

from builder.base.nearest import nearest

KNOWN = ("workers", "scale_up_threshold", "OSFamily", "listen")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("wrokers", "workers"),
        ("worker", "workers"),
        ("scale-up-threshold", "scale_up_threshold"),
        ("osfamily", "OSFamily"),
        ("LISTEN", "listen"),
        ("zebra", None),
        ("", None),
    ],
)
def test_nearest(name: str, meant: str | None) -> None:
    """A slip of the finger, another case or a dash is found; a stranger is not."""
    assert nearest(name, KNOWN) == meant


def test_nothing_is_near_to_nothing() -> None:
    """Without known names there is no guess."""
    assert nearest("a", ()) is None
