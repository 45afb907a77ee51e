"""The life-cycle tables are the whole truth: each state with each input."""

import itertools
from typing import get_args

import pytest

from builder.schedule import events, lease, task
from builder.schedule.handlers import HANDLERS
from builder.schedule.lease import Lease, LeaseInput, LeaseState, TransitionError
from builder.schedule.shares import Shares
from builder.schedule.spec import NOBODY
from builder.schedule.task import Task, TaskInput, TaskState
from tests.schedule.kit import spec


@pytest.mark.parametrize(
    ("state", "received"), list(itertools.product(LeaseState, LeaseInput)), ids=str
)
def test_leases(state: LeaseState, received: LeaseInput) -> None:
    """A pair that is in the table steps; every other one raises and changes nothing."""
    one = Lease("a/1", "a", "w", 1, 0.0, 0.0, state=state)
    if (state, received) in lease.TABLE:
        one.step(received)
        assert one.state is lease.TABLE[state, received]
    else:
        with pytest.raises(TransitionError, match="a/1"):
            one.step(received)
        assert one.state is state


@pytest.mark.parametrize(
    ("state", "received"), list(itertools.product(TaskState, TaskInput)), ids=str
)
def test_tasks(state: TaskState, received: TaskInput) -> None:
    """A pair that is in the table steps; every other one raises and changes nothing."""
    one = Task("a", spec("a"), 1, Shares({}).of(NOBODY), 1, 0.0, 0.0, 0, state)
    if (state, received) in task.TABLE:
        one.step(received)
        assert one.state is task.TABLE[state, received]
    else:
        with pytest.raises(TransitionError, match="task a"):
            one.step(received)
        assert one.state is state


def test_ended_leases_hold_no_slot_and_go_nowhere() -> None:
    """What is finished, returned or cancelled has no row of its own."""
    ended = {LeaseState.FINISHED, LeaseState.RETURNED, LeaseState.CANCELLED}
    assert not lease.HELD & ended
    assert not {state for state, _ in lease.TABLE} & ended
    assert {state for state, _ in task.TABLE} == set(TaskState) - {TaskState.DONE}


def test_every_event_has_its_handler() -> None:
    """No more and no less."""
    assert HANDLERS.keys() == set(get_args(events.Event))
