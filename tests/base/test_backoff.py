"""Delays between tries."""

import pytest

from builder.base.backoff import Backoff


def test_delays_grow_to_the_limit() -> None:
    backoff = Backoff(first_s=1.0, limit_s=5.0, factor=2.0, jitter=0.5)
    assert [backoff.delay(n, lambda: 0.0) for n in (1, 2, 3, 4, 1000)] == [1, 2, 4, 5, 5]


def test_chance_takes_a_share_away() -> None:
    assert Backoff(first_s=2.0, jitter=0.5).delay(1, lambda: 0.5) == pytest.approx(1.5)
