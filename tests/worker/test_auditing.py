"""Which actions are audited that have not asked for it."""

import pytest

from builder.base.digest import digest_of
from builder.sandbox.interface import AuditLevel
from builder.worker.auditing import Auditing

DIGESTS = [digest_of(str(number).encode()) for number in range(2000)]
CHEAP = AuditLevel.CHEAP


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 1.0])
def test_about_the_share_that_was_asked_for(share: float) -> None:
    """None at 0 and all at 1."""
    chosen = sum(Auditing(CHEAP, share).of(one) is CHEAP for one in DIGESTS)
    assert chosen == pytest.approx(share * len(DIGESTS), abs=60 if 0 < share < 1 else 0)


def test_a_larger_share_keeps_those_of_a_smaller_one() -> None:
    """An action stays one way or the other, on every worker."""
    few = [one for one in DIGESTS if Auditing(CHEAP, 0.1).of(one)]
    assert all(Auditing(CHEAP, 0.2).of(one) for one in few)


def test_nothing_is_audited_by_default() -> None:
    assert not any(Auditing().of(one) for one in DIGESTS)
