"""A short soak of a real service; the long one is `python -m tests.bench soak`."""

from pathlib import Path

import pytest

from tests.bench.soak import soaked
from tests.bench.soak_parts import MIB


@pytest.mark.slow
async def test_no_promise_is_broken_by_load_and_kills(tmp_path: Path) -> None:
    """Three times the capacity is written while the service is killed again and again: whatever
    it said was there is there, whole, until its lease ends."""
    ledger = await soaked(tmp_path, 2, 5.0, 48 * MIB, 6.0, seed=7)
    assert ledger.violations == []
    assert ledger.counts["kills"] == 2
    assert ledger.counts["reads"] > 0
    assert ledger.counts["audited"] > 0
