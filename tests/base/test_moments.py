"""Moments as people write them."""

import pytest

from builder.base.errors import UsageError
from builder.base.moments import LAST, format_moment, parse_moment


@pytest.mark.parametrize(
    ("text", "moment", "again"),
    [
        ("fixed", 315532800, "1980-01-01T00:00:00Z"),
        (0, 0, "1970-01-01T00:00:00Z"),
        ("1714564800", 1714564800, "2024-05-01T12:00:00Z"),
        ("2024-05-01T14:00:00+02:00", 1714564800, "2024-05-01T12:00:00Z"),
        ("2024-05-01t12:00:00z", 1714564800, "2024-05-01T12:00:00Z"),
        (LAST, LAST, "9999-12-31T23:59:59Z"),
    ],
)
def test_moments(text: str | int, moment: int, again: str) -> None:
    """In each form, and in one."""
    assert parse_moment(text) == moment
    assert format_moment(moment) == again
    assert parse_moment(again) == moment


@pytest.mark.parametrize(
    "text",
    ["", "now", "2024-05-01", "2024-05-01T12:00:00", "2024-13-01T00:00:00Z", "1969-12-31T23:59:59Z",
     -1, LAST + 1, "9" * 5000, "1.5", "٣", "2024-05-01 12:00:00Z", "2024-05-01T12:00:00.5Z"],
)  # fmt: skip
def test_no_moment(text: str | int) -> None:
    """It is told what would be one."""
    with pytest.raises(UsageError, match=r"is no moment: use fixed, 2024-05-01T12:00:00Z"):
        parse_moment(text)
