"""What the scheduler tells a pool's autoscaler."""

from builder.schedule import events
from builder.schedule.demand import Holder
from tests.schedule.kit import GPU, Story


def test_what_waits_and_who_holds_what() -> None:
    """Queued, running and draining, with the seconds that slots were held."""
    story = Story()
    story.connect("w")
    story.submit("a")
    story.submit("b")
    story.now = 3.0
    demand = story.machine.demand("default", 3.0)
    assert (demand.queued, demand.arrived, demand.finished) == (1, 2, 0)
    assert (demand.running_s, demand.held_s) == (3.0, 0.0)
    story.send(events.DrainRequested("w", 60.0, "enough"))
    story.finish("w", "a/1")
    demand = story.machine.demand("default", 3.0)
    assert (demand.finished, demand.held_s, demand.running_s) == (1, 3.0, 0.0)
    assert demand.workers == {"w": Holder(held=0, draining=True)}


def test_only_what_the_pool_could_serve_counts() -> None:
    """An action for somebody else's workers does not make this pool grow."""
    story = Story()
    story.connect("g", properties=GPU)
    story.submit("a", properties=GPU)
    story.submit("b", properties=GPU)
    assert story.machine.demand("default", 0.0).queued == 0
    assert story.machine.demand("other", 0.0).queued == 0
