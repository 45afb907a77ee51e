from dataclasses import replace

import pytest

from builder.scale.outlook import Outlook, next_action

CALM = Outlook(
    total=4,
    starting=0,
    idle=2,
    desired=4,
    grows_in_s=0.0,
    lesser=4,
    shrinks_in_s=0.0,
    asks_in_s=None,
    held=None,
)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({}, "None (the size is right)"),
        ({"desired": 8, "grows_in_s": 14.2}, "Scale up (add 4 workers in 15s)"),
        ({"desired": 5}, "Scale up (add 1 worker now)"),
        ({"lesser": 2, "shrinks_in_s": 75.0}, "Scale down (remove 2 workers in 1m 15s)"),
        ({"lesser": 2, "idle": 0}, "Scale down (remove 2 workers once idle)"),
        ({"starting": 3}, "Wait for 3 workers to join"),
        ({"held": 4}, "Hold at 4 workers until it is released"),
        ({"asks_in_s": 7.5}, "Ask the provider again for what it refused (in 8s)"),
    ],
)
def test_one_sentence(changed: dict[str, object], sentence: str) -> None:
    """Each with its countdown."""
    assert next_action(replace(CALM, **changed)) == sentence
