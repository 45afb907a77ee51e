"""Who may run what."""

import pytest

from builder.schedule.fleet import WorkerClass
from builder.schedule.lanes import MOST_EMPTY, MOST_REMEMBERED, Lanes
from builder.schedule.platform import Offer, canonical, described, mismatch

POOL = Offer.of("default", [("OSFamily", "linux"), ("ISA", "x86-64"), ("Pool", "default")])
GPU = Offer.of("gpu", [("OSFamily", "linux"), ("ISA", "x86-64"), ("Pool", "gpu"), ("gpu", "*")])


@pytest.mark.parametrize(
    ("written", "means"),
    [
        ((("OSFamily", "Linux"),), (("OSFamily", "linux"),)),
        ((("ISA", "x86_64"), ("ISA", "AMD64")), (("ISA", "x86-64"),)),
        ((("ISA", "aarch64"),), (("ISA", "arm-a64"),)),
        ((("Pool", "GPU"),), (("Pool", "GPU"),)),
        ((("b", "1"), ("a", "2"), ("a", "1")), (("a", "1"), ("a", "2"), ("b", "1"))),
    ],
)
def test_spellings(
    written: tuple[tuple[str, str], ...], means: tuple[tuple[str, str], ...]
) -> None:
    """Machines have one name each; everything else is as written, sorted, each once."""
    assert canonical(written) == means


@pytest.mark.parametrize(
    ("wanted", "served"),
    [
        ((), True),
        ((("OSFamily", "linux"),), True),
        ((("ISA", "x86-64"), ("OSFamily", "linux"), ("Pool", "gpu")), True),
        ((("gpu", "a100"),), True),
        ((("Pool", "default"),), False),
        ((("Pool", "default"), ("Pool", "gpu")), False),
        ((("container-image", "docker://x"),), False),
    ],
)
def test_offers(wanted: tuple[tuple[str, str], ...], served: bool) -> None:
    """Everything asked for is offered, by its value or by a star."""
    assert GPU.serves(wanted) is served
    assert bool(GPU.lacking(wanted)) is not served


def test_names_that_nobody_declares_are_ignored() -> None:
    """Hints of clients do not keep an action from running; known names always count."""
    lanes = Lanes([POOL], strict=False)
    asked = (("Pool", "default"), ("cache-silo-key", "7"), ("max-memory", "1G"), ("gpu", "1"))
    assert lanes.requirement(asked) == (
        (("Pool", "default"),),
        (("cache-silo-key", "7"), ("gpu", "1")),
    )
    assert lanes.requirement((("container-image", "x"),)) == ((("container-image", "x"),), ())


def test_names_that_a_worker_declares_count_from_then_on() -> None:
    """Also when it has gone again: what was once told apart stays apart."""
    lanes = Lanes([POOL], strict=False)
    kind = WorkerClass(GPU)
    lanes.add_class(kind)
    assert lanes.requirement((("gpu", "1"),)) == ((("gpu", "1"),), ())
    assert lanes.lane((("gpu", "1"),)).classes == [kind]
    lanes.remove_class(kind)
    assert lanes.requirement((("gpu", "1"),)) == ((("gpu", "1"),), ())
    assert not lanes.lane((("gpu", "1"),)).served


def test_the_nearest_offer_is_named_with_what_differs() -> None:
    """One sentence that says what to change."""
    wanted = (("ISA", "x86-64"), ("OSFamily", "linux"), ("Pool", "big"), ("gpu", "1"))
    assert mismatch(wanted, [POOL, GPU]) == (
        "no pool or worker serves ISA=x86-64, OSFamily=linux, Pool=big, gpu=1; the nearest is "
        "gpu: Pool=big is asked for, it has Pool=gpu"
    )
    assert mismatch((("container-image", "x"),), [POOL]).endswith(
        "container-image=x is asked for, it has no container-image"
    )
    assert mismatch((), [POOL], unknown=(("typo", "1"),)).endswith(
        "typo=1 is asked for, it has no typo"
    )
    assert mismatch((("ISA", "x"),), []) == (
        "no pool is configured and no worker is connected that offers ISA=x"
    )
    assert described(()) == "any platform"


def test_what_clients_write_is_remembered_within_bounds() -> None:
    """The same question gives the same answer, however many others were asked between."""
    lanes = Lanes([POOL], strict=False)
    first = lanes.requirement((("Pool", "default"),))
    for number in range(MOST_REMEMBERED + 10):
        lanes.requirement((("hint", str(number)),))
    assert lanes.requirement((("Pool", "default"),)) == first


def test_queues_of_many_platforms_do_not_pile_up() -> None:
    """Empty ones are dropped when there are many, and made again when they are asked for."""
    lanes = Lanes([POOL], strict=False)
    kind = WorkerClass(POOL)
    lanes.add_class(kind)
    for number in range(3 * MOST_EMPTY):
        lanes.lane((("Pool", str(number)),))
        lanes.lane((("OSFamily", "linux"),))
    assert len(list(lanes)) <= MOST_EMPTY
    assert len(lanes.of_class(kind)) == 1
