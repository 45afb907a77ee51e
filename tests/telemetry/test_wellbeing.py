"""What is wrong, from facts."""

from dataclasses import replace

import pytest

from builder.telemetry.wellbeing import COMPONENTS, Facts, Silence, judge

GIB = 1 << 30
WELL = Facts(
    disk_path="/store",
    disk_free_bytes=50 * GIB,
    disk_total_bytes=100 * GIB,
    memory_free_bytes=2 * GIB,
    memory_total_bytes=8 * GIB,
    descriptors=20,
    most_descriptors=1000,
    silences=(Silence("w1", 4.0),),
    waiting=100,
    slots=4,
    oldest_wait_s=500.0,
)
ILL = {
    "storage": (replace(WELL, storage_error="read-only"), True, "read-only"),
    "disk": (replace(WELL, disk_free_bytes=GIB), True, "/store has 1.0 GB left"),
    "memory": (replace(WELL, memory_free_bytes=1), True, "1 B of memory"),
    "descriptors": (replace(WELL, descriptors=960), True, "960 of 1000"),
    "workers": (replace(WELL, silences=(Silence("w1", 11.0),)), False, "w1 has not been heard"),
    "queue": (replace(WELL, waiting=201), False, "201 actions wait for 4 slots"),
    "provider": (replace(WELL, provider=("no quota",)), False, "no quota"),
}


def test_all_is_well() -> None:
    """Also where nothing is known, as in a service with its storage in memory."""
    assert judge(WELL) == []
    assert judge(Facts()) == []


@pytest.mark.parametrize("component", COMPONENTS)
def test_each_trouble_alone_is_one_problem(component: str) -> None:
    facts, grave, says = ILL[component]
    [problem] = judge(facts)
    assert (problem.component, problem.grave) == (component, grave)
    assert says in problem.sentence


@pytest.mark.parametrize(
    ("lost", "left", "told"), [(1, 0, False), (2, 0, True), (2, 4, True), (2, 5, False)]
)
def test_many_workers_lost_at_once_are_a_sign(lost: int, left: int, told: bool) -> None:
    """Of a network that is cut; one of them, or few of many, may go for any reason."""
    facts = replace(WELL, silences=(), workers=left, workers_lost=lost)
    assert [one.component for one in judge(facts)] == ["workers"] * told


def test_a_long_queue_that_moves_is_no_problem() -> None:
    """A burst is not yet a build-up."""
    assert judge(replace(WELL, waiting=10_000, oldest_wait_s=2.0)) == []


def test_the_grave_ones_come_first() -> None:
    facts = replace(WELL, provider=("x",), storage_error="y")
    assert [problem.grave for problem in judge(facts)] == [True, False]
