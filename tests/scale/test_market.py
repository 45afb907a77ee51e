"""Which machine to ask for."""

from hypothesis import given
from hypothesis import strategies as st

from builder.scale.market import Candidate, Market, Placed, Price

BIG = Candidate("big", "a", spot=False)
SMALL = Candidate("small", "a", spot=False)
SPOT_A = Candidate("small", "a", spot=True)
SPOT_B = Candidate("small", "b", spot=True)
PRICES = {"small": Price(0.2, 0.08, slots=4), "big": Price(0.3, 0.2, slots=8)}
EVERY = (SMALL, BIG, SPOT_A, SPOT_B)


def test_without_prices_the_order_of_the_configuration_stands() -> None:
    """Nothing is guessed."""
    assert Market(EVERY).ranked(0.0) == list(EVERY)
    assert Market(EVERY).why(SMALL, 0.0) == "small in a (on demand): as the configuration prefers"


def test_the_cheapest_slot_comes_first() -> None:
    """A large machine may be cheaper for each slot than a small one."""
    market = Market(EVERY, PRICES)
    assert market.ranked(0.0) == [SPOT_A, SPOT_B, BIG, SMALL]
    assert market.why(BIG, 0.0) == "big in a (on demand): 0.0375 an hour for each slot"
    said = "small in a (spot): 0.0203 an hour for each slot, with 0.05 interruptions an hour"
    assert market.why(SPOT_A, 0.0) == said


def test_a_price_of_one_place_holds_there_only() -> None:
    """Zones of another region may cost less."""
    market = Market(EVERY, {**PRICES, ("small", "b"): Price(0.2, 0.07, slots=4)})
    assert market.ranked(0.0) == [SPOT_B, SPOT_A, BIG, SMALL]


def test_work_that_waits_takes_no_machine_that_starts_late() -> None:
    """Though it is cheaper; it is not left out, and what is not urgent saves the money."""
    prices = {"small": Price(0.2, slots=4, start_up_s=50.0), "big": Price(0.3, 0.2, 8, 20.0)}
    market = Market([SMALL, BIG], prices)
    assert market.ranked(0.0) == market.ranked(0.0, urgent=True) == [BIG, SMALL]  # 30 s are alike
    market = Market([SMALL, BIG], {**prices, "big": Price(0.3, 0.2, 8, 180.0)})
    assert market.ranked(0.0) == [BIG, SMALL]
    assert market.ranked(0.0, urgent=True) == [SMALL, BIG]
    assert market.why(SMALL, 0.0, urgent=True) == (
        "small in a (on demand): 0.0500 an hour for each slot; "
        "big in a (on demand) is cheaper (0.0375) but starts in 180 s, and work waits"
    )
    assert "work waits" not in market.why(SMALL, 0.0) + market.why(BIG, 0.0, urgent=True)
    market.refused([SMALL], 0.0)
    assert market.ranked(1.0, urgent=True) == [BIG, SMALL]


def test_start_ups_are_learned() -> None:
    """What was seen counts, and not what was told; of a kind in other places where it is new."""
    there = Candidate("big", "b", spot=False)
    prices = {"small": Price(0.2, slots=4), "big": Price(0.3, slots=8)}
    market = Market([SMALL, BIG, there], prices)
    assert market.ranked(0.0, urgent=True) == [BIG, there, SMALL]
    market.joined(Placed(BIG, 0.0), 180.0)
    assert (market.start_up_s(there), market.start_up_s(SMALL)) == (180.0, 0.0)
    assert market.ranked(180.0, urgent=True) == [BIG, there, SMALL]  # of SMALL nothing is known
    market.joined(Placed(SMALL, 200.0), 240.0)
    assert market.ranked(240.0, urgent=True) == [SMALL, BIG, there]
    assert market.ranked(240.0) == [BIG, there, SMALL]
    assert "starts in 180 s, and work waits" in market.why(SMALL, 240.0, urgent=True)
    market.joined(Placed(there, 300.0), 345.0)
    assert market.ranked(345.0, urgent=True) == [there, SMALL, BIG]
    market.refused([SMALL, there], 345.0)
    assert market.ranked(346.0, urgent=True)[0] == BIG  # nobody quicker is to be had


def test_what_is_told_holds_until_it_is_seen() -> None:
    """And is a measure for what was seen of others."""
    prices = {"small": Price(0.2, slots=4, start_up_s=30.0), "big": Price(0.3, 0.2, 8, 50.0)}
    market = Market([SMALL, BIG], prices)
    assert market.ranked(0.0, urgent=True) == [BIG, SMALL]
    market.joined(Placed(BIG, 0.0), 100.0)
    assert market.ranked(100.0, urgent=True) == [SMALL, BIG]
    for _ in range(20):
        market.joined(Placed(BIG, 100.0), 140.0)
    assert market.ranked(140.0, urgent=True) == [BIG, SMALL]  # one late start is forgotten


def test_an_untold_spot_price_is_a_part_of_the_other() -> None:
    """Two fifths."""
    market = Market([SPOT_A], {"small": Price(1.0)})
    assert market.price(SPOT_A, 0.0) == 0.4 * (1 + 0.25 * 0.05)


def test_who_is_refused_rests_longer_each_time() -> None:
    """It stays in the order, at its end: it may be all that there is. A grant ends it."""
    market = Market(EVERY, PRICES)
    market.refused([SPOT_A], 0.0)
    assert market.ranked(59.0) == [SPOT_B, BIG, SMALL, SPOT_A]
    assert market.why(SPOT_A, 50.0).endswith("; refused 1 times, rests 10 s more")
    assert market.ranked(60.0)[0] == SPOT_A
    market.refused([SPOT_A], 60.0)
    assert market.ranked(179.0)[-1] == SPOT_A
    assert market.ranked(180.0)[0] == SPOT_A
    for _ in range(20):
        market.refused([SPOT_A], 180.0)
    assert market.ranked(180.0 + 899.0)[-1] == SPOT_A
    assert market.ranked(180.0 + 900.0)[0] == SPOT_A
    market.refused([SPOT_A], 2000.0)
    market.granted(SPOT_A, 1, 2001.0)
    assert market.ranked(2001.0)[0] == SPOT_A


def test_a_place_that_takes_machines_back_is_left() -> None:
    """For another place first, for on-demand machines when all are like that; it is forgotten."""
    market = Market(EVERY, PRICES)
    market.granted(SPOT_A, 10, 0.0)
    for _ in range(10):
        market.interrupted(SPOT_A, 1800.0)
    assert market.ranked(1800.0)[0] == SPOT_B
    market.granted(SPOT_A, 100, 1800.0)
    market.granted(SPOT_B, 100, 1800.0)
    for _ in range(100):
        market.interrupted(SPOT_A, 1801.0)
    for _ in range(100):
        market.interrupted(SPOT_B, 1801.0)
    assert market.ranked(1801.0) == [BIG, SMALL, SPOT_A, SPOT_B]
    assert set(market.ranked(1801.0 + 2 * 86400.0)[:2]) == {SPOT_A, SPOT_B}


def test_machines_that_stay_speak_for_their_place() -> None:
    """The same interruptions among more hours are fewer."""
    market = Market([SPOT_A, SPOT_B], PRICES)
    market.granted(SPOT_A, 1, 0.0)
    market.granted(SPOT_B, 20, 0.0)
    market.interrupted(SPOT_A, 3600.0)
    market.interrupted(SPOT_B, 3600.0)
    assert market.rate(SPOT_B, 3600.0) < market.rate(SPOT_A, 3600.0) / 2
    market.ended(SPOT_B, 3600.0)
    assert market.ranked(3600.0) == [SPOT_B, SPOT_A]


@given(st.data())
def test_every_candidate_is_always_in_the_order_once(data: st.DataObject) -> None:
    """Whatever happens, nobody is lost, and who rests stands behind who does not."""
    market, now = Market(EVERY, PRICES if data.draw(st.booleans()) else None), 0.0
    for _ in range(data.draw(st.integers(0, 20))):
        now += data.draw(st.sampled_from([0.0, 1.0, 100.0, 10_000.0]))
        one = data.draw(st.sampled_from(EVERY))
        match data.draw(st.integers(0, 3)):
            case 0:
                market.granted(one, data.draw(st.integers(1, 5)), now)
            case 1:
                market.refused([one], now)
            case 2:
                market.ended(one, now)
            case _:
                market.interrupted(one, now)
        ranked = market.ranked(now)
        assert sorted(map(str, ranked)) == sorted(map(str, EVERY))
        resting = ["rests" in market.why(candidate, now) for candidate in ranked]
        assert resting == sorted(resting)
        assert all(market.rate(candidate, now) > 0 for candidate in EVERY)
