"""What the settings say of scheduling reaches it."""

from builder.assembly.coordinator import scheduling
from builder.config.settings import Scheduler
from builder.schedule.policy import Policy


def test_defaults_are_the_same() -> None:
    said, own = scheduling(Scheduler()), Policy()
    assert (said.finished_kept_s, said.finished_kept, said.finished_kept_bytes) == (
        own.finished_kept_s,
        own.finished_kept,
        own.finished_kept_bytes,
    )


def test_room_for_finished_operations() -> None:
    """In bytes, and so many operations as surely fit."""
    policy = scheduling(Scheduler(keep_finished=5.0, keep_finished_memory=2**20))
    assert policy.finished_kept_s == 5.0
    assert (policy.finished_kept, policy.finished_kept_bytes) == (256, 2**20)
