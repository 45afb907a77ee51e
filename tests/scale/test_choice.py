from dataclasses import fields, replace

import pytest

from builder.config.settings import PolicyName, Pool
from builder.scale.choice import CHOICES, Wanted, choose
from tests.scale.test_policies import QUIET


def test_every_policy_of_the_configuration_is_there() -> None:
    assert tuple(CHOICES) == PolicyName.__args__
    assert {field.name for field in fields(Pool)} >= {"policy", "alpha", "window"}


@pytest.mark.parametrize("name", CHOICES)
def test_each_wishes_something_with_a_reason(name: str) -> None:
    wish = choose(name, Wanted())(QUIET)
    assert wish.workers >= 0
    assert wish.why


def test_thresholds_and_sizes_arrive() -> None:
    """A load of 50 % is too much for a threshold of 40 %."""
    wanted = Wanted(up=0.4, down=0.1, size=7)
    assert choose("threshold", wanted)(QUIET).workers == 6
    assert choose("specification", wanted)(QUIET).workers > 4
    assert choose("static", wanted)(QUIET).workers == 7
    hurried = choose("predictive", replace(wanted, wait_s=1.0))(replace(QUIET, queued=200))
    patient = choose("predictive", replace(wanted, wait_s=60.0))(replace(QUIET, queued=200))
    assert hurried.workers > patient.workers
