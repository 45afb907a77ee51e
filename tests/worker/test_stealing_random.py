"""Any interleaving of steals, starts, ends, deaths, cuts, restarts: one result of each action."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.worker.stealing_world import World

Rule = Callable[[World, int], None]
CALM: list[Rule] = [
    World.connect,
    *[World.submit] * 4,
    *[World.up] * 6,
    *[World.down] * 6,
    *[World.call] * 4,
    *[World.finish] * 3,
    World.beat,
    World.pass_a_moment,
]
WILD: list[Rule] = [
    *CALM,
    World.fail_call,
    World.cancel,
    World.connect,
    World.cut,
    World.kill,
    World.stop,
    World.drain,
    World.restart,
    World.pass_time,
]


def histories(rules: list[Rule]) -> st.SearchStrategy[list[tuple[int, int]]]:
    step = st.tuples(st.integers(0, len(rules) - 1), st.integers(0, 99))
    return st.lists(step, min_size=40, max_size=160)


def live(world: World, rules: list[Rule], history: list[tuple[int, int]]) -> None:
    for rule, how in history:
        rules[rule](world, how)
    world.settle()


@pytest.mark.no_cover
@settings(max_examples=60, deadline=None)
@given(histories(CALM))
def test_stealing_alone_never_starts_an_action_twice(history: list[tuple[int, int]]) -> None:
    """However slow everything is under way, each action is started once, by one worker."""
    world = World()
    live(world, CALM, history)
    assert set(world.starts.values()) <= {1}


@pytest.mark.no_cover
@settings(max_examples=80, deadline=None)
@given(histories(WILD))
def test_every_action_has_one_result_whatever_happens(history: list[tuple[int, int]]) -> None:
    """The world sees to it that no operation ends twice and none is lost."""
    live(World(), WILD, history)


def test_the_histories_do_steal() -> None:
    """A world of which nobody tells lies: one worker with a backlog and one without."""
    world = World((1, 1))
    world.connect(0)
    for _ in range(3):
        world.submit(1)
    world.deliver()
    world.connect(1)
    world.settle()
    counters = world.machine.snapshot().counters
    assert counters.stolen
    assert set(world.starts.values()) == {1}
