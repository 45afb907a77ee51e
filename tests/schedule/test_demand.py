"""What the scheduler tells a pool's autoscaler."""

from builder.schedule import events
from builder.schedule.demand import Holder
from builder.schedule.platform import Offer
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


def several() -> Story:
    """Two pools; the second serves whatever the first does, and more."""
    plain = Offer.of("plain", [("OSFamily", "linux")])
    return Story(pools=[plain, Offer.of("gpu", [("OSFamily", "linux"), ("GPU", "t4")])])


def test_one_pool_is_asked_for_what_several_could_serve() -> None:
    """The first in the configuration; a full one leaves what waits to the next."""
    story = several()
    story.submit("a", properties=(("OSFamily", "linux"),))
    story.submit("b", properties=(("GPU", "t4"), ("OSFamily", "linux")))
    demand = story.machine.demand

    def queued(*full: str) -> list[int]:
        return [demand(pool, 0.0, full).queued for pool in ("plain", "gpu")]

    assert queued() == [1, 1]
    assert queued("plain") == [0, 2]
    assert queued("gpu") == [1, 1]
    assert queued("plain", "gpu") == [1, 1]


def test_each_pool_learns_from_its_own_actions() -> None:
    """What arrives, runs and finishes is counted for the pool that is the first to serve it."""
    story = several()
    story.connect("w", properties=(("GPU", "t4"), ("OSFamily", "linux")), slots=2)
    story.submit("a", properties=(("OSFamily", "linux"),))
    story.submit("b", properties=(("GPU", "t4"), ("OSFamily", "linux")))
    story.now = 3.0
    story.finish("w", "a/1")
    plain, gpu = (story.machine.demand(pool, 5.0) for pool in ("plain", "gpu"))
    assert (plain.arrived, plain.finished, plain.held_s, plain.running_s) == (1, 1, 3.0, 0.0)
    assert (gpu.arrived, gpu.finished, gpu.held_s, gpu.running_s) == (1, 0, 0.0, 5.0)
