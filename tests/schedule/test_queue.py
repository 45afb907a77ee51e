"""The queue: order, removal, passing over; and what a decision costs."""

import sys
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.schedule import events
from builder.schedule.machine import Machine
from builder.schedule.queue import Queue
from builder.schedule.shares import Shares
from builder.schedule.spec import NOBODY
from builder.schedule.task import Task
from tests.schedule.kit import FAILED, POOL, Story, spec

SHARE = Shares({}).of(NOBODY)


def task(name: str, sequence: int, order_s: float = 0.0) -> Task:
    return Task(name, spec(name), 1, SHARE, sequence, 0.0, order_s, 0)


def names(queue: Queue) -> list[str]:
    return [queue.pop().id for _ in range(len(queue))]


def test_order_then_sequence() -> None:
    """First by order, equals by the sequence of asking, not by the sequence of pushing."""
    queue = Queue()
    for one in (task("c", 3), task("a", 1), task("z", 0, 1.0), task("b", 2)):
        queue.push(one)
    assert names(queue) == ["a", "b", "c", "z"]


def test_moving_a_waiting_task() -> None:
    """Pushed again with another order it stands at one place only."""
    queue = Queue()
    tasks = [task(str(number), number, 10.0) for number in range(3)]
    for one in tasks:
        queue.push(one)
    tasks[2].order_s = 0.0
    queue.push(tasks[2])
    assert len(queue) == 3
    assert names(queue) == ["2", "0", "1"]


def test_removed_tasks_leave_nothing_behind() -> None:
    """Most of a long queue is cancelled; the rest is there and in order."""
    queue = Queue()
    tasks = [task(str(number), number) for number in range(300)]
    for one in tasks:
        queue.push(one)
    for one in tasks[:-3]:
        queue.remove(one)
    assert [one.id for one in queue] == ["297", "298", "299"]
    assert names(queue) == ["297", "298", "299"]


@pytest.mark.no_cover
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 300), st.integers(-5, 5)), max_size=300))
def test_it_is_a_sorted_list(steps: list[tuple[bool, int, int]]) -> None:
    """Whatever is pushed, moved and removed, the rest comes out in its order."""
    queue = Queue()
    waiting: dict[int, Task] = {}
    for adds, number, order in steps:
        if adds:
            one = waiting.setdefault(number, task(str(number), number))
            one.order_s = order
            queue.push(one)
        elif number in waiting:
            queue.remove(waiting.pop(number))
        assert len(queue) == len(waiting)
        assert {one.sequence for one in queue} == waiting.keys()
    expected = sorted(waiting.values(), key=lambda one: (one.order_s, one.sequence))
    assert names(queue) == [one.id for one in expected]


def calls(act: Callable[[], object]) -> int:
    """How many Python functions ran: a cost that no noise of the machine touches."""
    count = 0

    def tracer(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event == "call"

    before = sys.getprofile()
    sys.setprofile(tracer)
    try:
        act()
    finally:
        sys.setprofile(before)
    return count


def cycle_cost(queued: int, workers: int) -> int:
    """Calls of one submit, finish and grant with so much around it."""
    machine = Machine(pools=[POOL])
    for number in range(queued):
        machine.handle(events.ActionSubmitted(f"q{number}", spec(f"q{number}")), number * 1e-6)
    story = Story()
    story.machine = machine
    story.send = lambda event: machine.handle(event, 1.0)  # type: ignore[method-assign]
    for number in range(workers):
        story.connect(f"w{number}")

    def cycle() -> None:
        machine.handle(events.ActionSubmitted("new", spec("new")), 2.0)
        machine.handle(events.LeaseFinished("w0", "q0/1", FAILED), 2.0)

    return calls(cycle)


def test_a_decision_costs_the_same_however_much_waits() -> None:
    """Between 100 and 10,000 queued actions only the heap's depth may show."""
    few, many = cycle_cost(200, 100), cycle_cost(10_000, 100)
    assert many <= few * 1.2


def test_a_decision_costs_the_same_however_many_workers_there_are() -> None:
    """One class of workers is one step, not a thousand."""
    few, many = cycle_cost(1500, 10), cycle_cost(1500, 1000)
    assert many <= few * 1.2


def test_nobody_starves() -> None:
    """Under a flood of urgent actions a patient one is served within its bound."""
    story = Story()
    story.connect("w")
    story.submit("running")
    story.submit("patient", priority=3)
    served_at = None
    lease = "running/1"
    for second in range(100):
        story.now = float(second)
        story.submit(f"urgent{second}a")
        story.submit(f"urgent{second}b")
        told = story.finish("w", lease, FAILED)
        lease = next(line for line in told if " gets " in line).split()[-1]
        if lease == "patient/1":
            served_at = second
            break
    # 3 steps of 10 s; two come for each one served, so it waits about twice as long
    assert served_at is not None
    assert 30 <= served_at <= 65
