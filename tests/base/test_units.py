import pytest

from builder.base.errors import UsageError
from builder.base.units import format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("5m", 300),
        ("250ms", 0.25),
        ("1h30m", 5400),
        ("2d", 172800),
        (7, 7),
        (0.5, 0.5),
    ],
)
def test_durations(text: str | float, seconds: float) -> None:
    """Each unit, sums of them, and bare seconds."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "5 minutes", "m5", "-3s", "1h-"])
def test_no_duration(text: str) -> None:
    """What is no duration is refused with examples of what is."""
    with pytest.raises(UsageError, match="30s, 5m"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4G", 4 << 30),
        ("2GiB", 2 << 30),
        ("64MB", 64 << 20),
        ("512K", 512 << 10),
        ("10", 10),
        ("1.5 KiB", 1536),
        (42, 42),
        ("3B", 3),
    ],
)
def test_sizes(text: str | int, size: int) -> None:
    """Powers of 1024, with or without i and B."""
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "G", "4X", "-1K", "4 gigs"])
def test_no_size(text: str) -> None:
    """What is no size is refused with examples of what is."""
    with pytest.raises(UsageError, match="2GiB or 4G"):
        parse_size(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.045, "45ms"), (1.23, "1.2s"), (332, "5m 32s"), (7500, "2h 5m"), (273600, "3d 4h")],
)
def test_a_duration_for_people(seconds: float, text: str) -> None:
    """Two figures at the most."""
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1000, "1000 B"),
        (239616, "234 KB"),
        (3 << 19, "1.5 MB"),
        (5 << 30, "5.0 GB"),
        (2 << 40, "2.0 TB"),
    ],
)
def test_a_size_for_people(size: int, text: str) -> None:
    """The unit fits the number."""
    assert format_size(size) == text
