"""Actions go to the workers that have their program ready."""

from builder.schedule.policy import Policy
from builder.schedule.reasons import ReasonCode
from builder.schedule.warmth import MOST_OF_ONE, Warmth
from tests.schedule.kit import FAILED, Story

RUNNING = ReasonCode.RUNNING


def three() -> Story:
    story = Story()
    for name in ("v", "w", "x"):
        story.connect(name, slots=2)
    return story


def test_a_program_that_is_ready_is_preferred() -> None:
    """Before the least loaded worker, as long as there is a slot; the reason says so."""
    story = three()
    story.beat("x", programs=("javac",))
    assert story.submit("a", program="javac")[0] == "x gets a/1"
    assert story.reason("a") == (RUNNING, "starts on x, which has its program ready")
    assert story.submit("b", program="javac")[0] == "x gets b/1"
    assert story.submit("c", program="javac")[0] != "x gets c/1"
    assert "ready" not in story.reason("c")[1]
    assert story.submit("d")[0] != "x gets d/1"


def test_who_gets_an_action_has_its_program_from_then_on() -> None:
    """Also when a heartbeat that knows nothing of it was on its way."""
    story = three()
    first = story.submit("a", program="javac")[0].partition(" ")[0]
    story.beat(first, "a/1")
    assert story.submit("b", program="javac")[0] == f"{first} gets b/1"
    story.finish(first, "a/1", FAILED)
    story.finish(first, "b/1", FAILED)
    assert story.submit("c", program="javac")[0] == f"{first} gets c/1"


def test_a_program_that_is_gone_draws_nothing() -> None:
    """Its worker says so, or is gone itself."""
    story = three()
    story.beat("x", programs=("javac", "kotlinc"))
    story.beat("x")
    assert story.submit("a", program="javac")[0] != "x gets a/1"
    story = Story(Policy(heartbeat_timeout_s=60))
    story.connect("x", slots=2)
    story.beat("x", programs=("javac",))
    story.at(1e3)  # nobody has said anything for long
    story.connect("x", slots=2)
    assert story.submit("a", program="javac")[0] == "x gets a/1"
    assert story.reason("a") == (RUNNING, "starts on x")


def test_one_worker_s_programs_are_bounded() -> None:
    """However many it names, and each pair is forgotten again."""
    warmth = Warmth()
    warmth.has("w", map(str, range(2 * MOST_OF_ONE)))
    assert [bool(warmth.workers(str(n))) for n in (0, MOST_OF_ONE)] == [True, False]
    warmth.check(["w"])
    warmth.has("w", ())
    assert warmth.is_cold("w")
    warmth.check([])
    assert not warmth.workers("0")
