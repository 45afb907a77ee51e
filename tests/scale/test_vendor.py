"""Machines for a simulation, bought by the providers' own market."""

import itertools

import pytest

from builder.scale import policies
from builder.scale.autoscaler import Bounds
from builder.scale.market import Price
from builder.scale.simulate import Report, Simulation
from builder.scale.traces import Arrival
from builder.scale.vendor import BUYERS, NOTICE_S, Offer, Vendor

SMALL = Offer("small", Price(0.2, 0.08, slots=4, start_up_s=40.0), interruptions=0.0)
BIG = Offer("big", Price(0.3, 0.2, slots=8, start_up_s=60.0), interruptions=0.0)
NORTH = Offer("small", Price(0.2, 0.06, 4, 40.0), place="north", interruptions=0.0, most=2)
EVERY = (SMALL, BIG, NORTH)


def bought(how: str, count: int = 3) -> list[tuple[str, str, bool, float]]:
    """Of how many: their kinds, places, whether they are spot machines, prices of an hour."""
    vendor = Vendor(EVERY, BUYERS[how], lambda: 0.5)
    machines = [(one.placed.candidate, one.hour) for one in vendor.launch(count, 0.0, urgent=False)]
    return [(one.kind, one.place, one.spot, hour) for one, hour in machines]


def test_buyers_choose_as_they_are_called() -> None:
    """The cheapest slots, as many as there are, then the next; or what comes first."""
    north = ("small", "north", True, 0.06)
    assert bought("cost-aware") == [north, north, ("small", "", True, 0.08)]
    assert bought("on demand, by price") == [("big", "", False, 0.3)] * 3
    assert bought("spot, in order") == [("small", "", True, 0.08)] * 3
    assert bought("on demand, in order") == [("small", "", False, 0.2)] * 3


def test_there_are_no_more_than_there_are() -> None:
    """Who ends gives its place back."""
    vendor = Vendor([NORTH], BUYERS["spot, in order"], lambda: 0.5)
    first, _ = vendor.launch(5, 0.0, urgent=True)
    assert vendor.launch(1, 1.0, urgent=True) == []
    vendor.ended(first, 2.0)
    assert len(vendor.launch(5, 3.0, urgent=True)) == 1


def test_a_machine_that_is_taken_back_often_is_left() -> None:
    """Its hours and its losses are the market's."""
    rare = Offer("small", Price(0.2, 0.1, 4), interruptions=0.0, place="calm")
    often = Offer("small", Price(0.2, 0.08, 4), interruptions=20.0)
    vendor = Vendor([rare, often], BUYERS["cost-aware"], lambda: 0.5)
    places = []
    for number in range(20):
        (one,) = vendor.launch(1, 600.0 * number, urgent=False)
        vendor.ended(one, min(one.noticed_at, 600.0 * number + 500.0))
        places.append(one.placed.candidate.place)
    assert places[0] == ""
    assert places[-1] == "calm"


def simulated(offer: Offer, trace: list[Arrival], how: str = "spot, in order") -> Report:
    vendor = Vendor([offer], BUYERS[how], lambda: 0.5)
    bounds = Bounds(1, 1, offer.price.slots, start_up_guess_s=10.0)
    return Simulation(bounds, policies.static(1), vendor).run(trace)


def test_what_a_machine_that_is_taken_back_has_not_finished_runs_again() -> None:
    """It ends what it can within its notice; the pool replaces it at the notice."""
    offer = Offer("w", Price(3.6, 1.8, 2, start_up_s=10.0), interruptions=2.5)
    noticed = Vendor([offer], BUYERS["spot, in order"], lambda: 0.5).launch(1, 0.0, urgent=True)
    at = noticed[0].noticed_at  # of each machine, from its launch
    assert at == pytest.approx(998.1, abs=0.1)
    long, short = Arrival(at - 10.0, 500.0), Arrival(at - 10.0, 60.0)
    report = simulated(offer, [long, short])
    assert report.interruptions == 1
    assert report.launches == 2
    assert report.wait_p50_s == report.wait_p99_s == pytest.approx(10.0 + NOTICE_S)
    paid_s = at + NOTICE_S + (NOTICE_S + 500.0)
    assert report.worker_hours * 3600 == pytest.approx(paid_s)
    assert report.cost == pytest.approx(report.worker_hours * 1.8)


def test_sizes_may_be_mixed() -> None:
    """Money by each machine's own price, utilisation by its own slots."""
    trace = [Arrival(float(n), 20.0) for n in range(600)]
    bounds = Bounds(1, 20, 4, start_up_guess_s=40.0, service_guess_s=20.0)
    reports = {}
    for how, few in itertools.product(BUYERS, (None, 1)):
        big = Offer("big", Price(0.3, 0.2, slots=8, start_up_s=60.0), interruptions=0.0, most=few)
        vendor = Vendor([big, SMALL], BUYERS[how], lambda: 0.5)
        reports[how, few] = Simulation(bounds, policies.predictive(), vendor).run(trace)
    assert all(0.2 < one.utilisation <= 1.0 for one in reports.values())
    cheap, dear = reports["cost-aware", None], reports["on demand, in order", None]
    assert cheap.cost < 0.6 * dear.cost
    assert {one.most_workers for one in reports.values()} <= set(range(1, 21))
