import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.scale import policies
from builder.scale.autoscaler import Autoscaler, Bounds
from builder.scale.events import (
    Decided,
    Effect,
    InstanceBusy,
    InstanceGone,
    InstanceLeaving,
    InstanceReady,
    InstancesFound,
    Launch,
    Launched,
    LaunchRefused,
    LoadObserved,
    Retire,
    SizeHeld,
    TimePassed,
)
from builder.scale.load import Load

BOUNDS = Bounds(minimum=1, maximum=5, start_up_guess_s=1.0, service_guess_s=10.0)


def scaler(bounds: Bounds = BOUNDS) -> Autoscaler:
    return Autoscaler(bounds, policies.predictive(wait_s=1.0), 0.0)


def actions(effects: list[Effect]) -> list[Effect]:
    return [effect for effect in effects if not isinstance(effect, Decided)]


def started(machine: Autoscaler, names: tuple[str, ...], token: str, now: float) -> None:
    machine.handle(Launched(token, names), now)
    for name in names:
        machine.handle(InstanceReady(name), now)
    machine.check()


def test_the_pool_is_filled_to_its_minimum_at_once() -> None:
    """The first event does it, and the launch is not asked for twice."""
    machine = scaler()
    shown = machine.snapshot(0.0)
    assert (shown.ready, shown.starting) == (0, 1)
    assert shown.decision == "asks the provider which workers there are"
    assert actions(machine.handle(TimePassed(), 0.0)) == [Launch("launch-1", 1)]
    assert actions(machine.handle(TimePassed(), 0.1)) == []
    machine.check()


def test_a_burst_is_answered_by_the_event_that_tells_of_it() -> None:
    """No tick and no cooldown between a queue and its launch; the maximum holds."""
    machine = scaler()
    machine.handle(TimePassed(), 0.0)
    started(machine, ("a",), "launch-1", 0.2)
    effects = machine.handle(LoadObserved(Load(queued=100, running=1, arrived=101)), 0.3)
    assert actions(effects) == [Launch("launch-2", 4, urgent=True)]
    machine.check()


def test_a_refused_launch_is_asked_for_again_later() -> None:
    """With growing pauses, the same token, and the invariant in between."""
    machine = scaler()
    machine.handle(TimePassed(), 0.0)
    assert actions(machine.handle(LaunchRefused("launch-1", "no capacity"), 0.0)) == []
    machine.check()
    assert machine.next_deadline() == 1.0
    assert actions(machine.handle(TimePassed(), 1.0)) == [Launch("launch-1", 1)]
    machine.handle(LaunchRefused("launch-1", "no capacity"), 1.0)
    assert actions(machine.handle(TimePassed(), 2.5)) == []
    assert actions(machine.handle(TimePassed(), 3.0)) == [Launch("launch-1", 1)]
    assert "no capacity" in machine.snapshot(3.0).decision


def test_after_what_only_a_person_can_help_with_the_pauses_grow_to_a_quarter_of_an_hour() -> None:
    """The decision names the fault and the pause; another kind of fault is asked again soon."""
    machine = scaler()
    machine.handle(TimePassed(), 0.0)
    now, quota = 0.0, "VcpuLimitExceeded: the limit of 32 vCPUs is reached"
    for pause_s in (60.0, 120.0, 240.0, 480.0, 900.0, 900.0):
        machine.handle(LaunchRefused("launch-1", quota, soon=False), now)
        machine.check()
        seen = machine.snapshot(now)
        told = f"the provider refused 1 worker ({quota}); asks again in {pause_s:.0f} s"
        assert (seen.decision, seen.refused, seen.starting) == (told, 1, 1)
        assert actions(machine.handle(TimePassed(), now + pause_s - 1.0)) == []
        now += pause_s
        assert actions(machine.handle(TimePassed(), now)) == [Launch("launch-1", 1)]
        assert machine.snapshot(now).refused == 0
    machine.handle(LaunchRefused("launch-1", "throttled"), now)
    assert "asks again in 60 s" in machine.snapshot(now).decision
    started(machine, ("a",), "launch-1", now)
    machine.handle(InstanceGone("a"), now)
    machine.handle(LaunchRefused("launch-2", "throttled"), now)
    assert "asks again in 1 s" in machine.snapshot(now).decision


def test_an_idle_pool_shrinks_after_the_cooldown_and_by_idle_workers_only() -> None:
    """The busy one stays, although it is the youngest."""
    machine = scaler()
    machine.handle(SizeHeld(3), 0.0)
    started(machine, ("a", "b", "c"), "launch-1", 0.0)
    machine.handle(InstanceBusy("c", 1), 0.0)
    machine.handle(LoadObserved(Load(running=1, arrived=1)), 0.0)
    machine.handle(SizeHeld(None), 1.0)
    assert actions(machine.handle(TimePassed(), 100.0)) == []
    effects = machine.handle(TimePassed(), 230.0)
    assert actions(effects) == [Retire(("a", "b"))]
    machine.check()
    assert machine.snapshot(230.0).leaving == 2


def test_a_lost_worker_is_replaced_at_once() -> None:
    """Below the minimum nothing waits."""
    machine = scaler()
    machine.handle(TimePassed(), 0.0)
    started(machine, ("a",), "launch-1", 0.0)
    assert actions(machine.handle(InstanceGone("a"), 0.5)) == [Launch("launch-2", 1)]


def test_an_operator_s_hold_beats_the_policy_and_the_cooldown() -> None:
    """Up and down at once, within the bounds; busy workers are waited for."""
    machine = scaler()
    machine.handle(TimePassed(), 0.0)
    started(machine, ("a",), "launch-1", 0.0)
    assert actions(machine.handle(SizeHeld(9), 0.1)) == [Launch("launch-2", 4)]
    started(machine, ("b", "c", "d", "e"), "launch-2", 0.2)
    assert machine.snapshot(0.2).held == 9
    (retire,) = actions(machine.handle(SizeHeld(1), 0.3))
    assert isinstance(retire, Retire)
    assert len(retire.instances) == 4


def test_a_pool_of_zero_starts_by_its_first_action() -> None:
    """Scale from zero, and back to it when it has been quiet."""
    machine = scaler(Bounds(minimum=0, maximum=5, down_cooldown_s=10.0))
    assert actions(machine.handle(TimePassed(), 0.0)) == []
    effects = machine.handle(LoadObserved(Load(queued=1, arrived=1)), 0.1)
    assert actions(effects) == [Launch("launch-1", 1, urgent=True)]
    started(machine, ("a",), "launch-1", 0.2)
    machine.handle(LoadObserved(Load(arrived=1, finished=1, service_s=1.0)), 1.0)
    retired: list[Effect] = []
    for second in range(2, 60):
        retired += actions(machine.handle(TimePassed(), float(second)))
    assert retired == [Retire(("a",))]
    machine.check()


def test_the_learned_start_up_time_is_that_of_the_launches() -> None:
    """From the asking to the joining."""
    machine = scaler()
    machine.handle(TimePassed(), 0.0)
    machine.handle(Launched("launch-1", ("a",)), 5.0)
    machine.handle(InstanceReady("a"), 42.0)
    assert machine.snapshot(42.0).ready == 1


def test_it_starts_with_its_target_and_falls_back_after_the_cooldown() -> None:
    """The target is where it begins, not a floor; the status counts down to the shrinking."""
    machine = scaler(Bounds(minimum=1, maximum=5, start=3, down_cooldown_s=60.0))
    assert actions(machine.handle(TimePassed(), 0.0)) == [Launch("launch-1", 3)]
    started(machine, ("a", "b", "c"), "launch-1", 1.0)
    assert actions(machine.handle(TimePassed(), 50.0)) == []
    assert machine.snapshot(50.0).next_action == "Scale down (remove 2 workers in 10s)"
    (retire,) = actions(machine.handle(TimePassed(), 61.0))
    assert isinstance(retire, Retire)
    assert len(retire.instances) == 2


def test_nobody_is_sent_away_while_something_waits() -> None:
    """Who is idle then has just joined, and is about to get it."""
    machine = scaler(Bounds(minimum=0, maximum=5, down_cooldown_s=1.0))
    machine.handle(SizeHeld(3), 0.0)
    started(machine, ("a", "b", "c"), "launch-1", 0.0)
    machine.handle(SizeHeld(None), 0.0)
    waiting = Load(queued=1, arrived=1, running=0)
    assert actions(machine.handle(LoadObserved(waiting, {"a": 0, "b": 1}), 50.0)) == []
    assert machine.snapshot(50.0).next_action == "None (the size is right)"


def test_one_that_drains_is_replaced_before_it_is_gone() -> None:
    """It does not count any more, but it is known until its end."""
    machine = scaler()
    machine.handle(TimePassed(), 0.0)
    started(machine, ("a",), "launch-1", 0.0)
    assert actions(machine.handle(InstanceLeaving("a"), 1.0)) == [Launch("launch-2", 1)]
    assert machine.snapshot(1.0).leaving == 1
    assert actions(machine.handle(InstanceGone("a"), 2.0)) == []
    machine.check()


def test_what_a_former_coordinator_launched_is_taken_over() -> None:
    """Up to the maximum; the surplus is sent away, and nothing is launched beside them."""
    machine = scaler()
    found = tuple("abcdefg")
    assert machine.handle(InstancesFound(found), 0.0) == [Retire(("f", "g"))]
    assert actions(machine.handle(TimePassed(), 0.0)) == []
    assert machine.snapshot(0.0).starting == 5
    machine.check()


def test_a_lost_run_takes_its_seconds_with_it() -> None:
    """What is held may become less; nothing is learned from that."""
    machine = scaler(Bounds(minimum=1, maximum=100, service_guess_s=10.0))
    machine.handle(TimePassed(), 0.0)
    started(machine, ("a",), "launch-1", 0.5)
    for now, load in (
        (1.0, Load(0, 1, 2, 1, 10.0, 90.0)),
        (2.0, Load(0, 0, 2, 1, 10.0, 0.0)),
        (3.0, Load(0, 1, 4, 2, 20.0, 0.0)),
    ):
        machine.handle(LoadObserved(load), now)
        machine.check()
    assert "of 50.0 s" in decision(machine, Load(50, 1, 54, 2, 20.0, 0.0), 4.0)


def test_the_short_ones_of_a_growing_load_do_not_speak_for_all() -> None:
    """Of twenty that began together half are over after a second: the slots were held for 20 s."""
    machine = scaler(Bounds(minimum=1, maximum=100, service_guess_s=10.0))
    machine.handle(TimePassed(), 0.0)
    started(machine, ("a",), "launch-1", 0.0)
    machine.handle(LoadObserved(Load(0, 20, 20)), 0.0)
    machine.handle(LoadObserved(Load(0, 10, 20, 10, 10.0, 10.0)), 1.0)
    assert "of 2.0 s" in decision(machine, Load(50, 10, 70, 10, 10.0, 10.0), 1.0)


def decision(machine: Autoscaler, load: Load, now: float) -> str:
    machine.handle(LoadObserved(load), now)
    machine.check()
    return machine.snapshot(now).decision


def test_a_first_burst_of_long_actions_is_seen_as_one() -> None:
    """None has ended yet, but those that run have been at it for long already."""
    machine = scaler(Bounds(minimum=2, maximum=50, service_guess_s=1.0))
    machine.handle(TimePassed(), 0.0)
    started(machine, ("a", "b"), "launch-1", 0.5)
    short = Load(queued=40, running=2, arrived=42)
    machine.handle(LoadObserved(short), 1.0)
    before = machine.snapshot(1.0).desired
    later = Load(queued=40, running=2, arrived=42, running_s=60.0)
    machine.handle(LoadObserved(later), 31.0)
    assert machine.snapshot(31.0).desired > before


@pytest.mark.no_cover
@given(st.data())
def test_the_bounds_hold_whatever_happens(data: st.DataObject) -> None:
    """Random loads, refusals, partial launches, deaths and holds; both bounds, after each event."""
    minimum = data.draw(st.integers(0, 3))
    bounds = Bounds(minimum=minimum, maximum=minimum + data.draw(st.integers(0, 6)), slots=2)
    machine = scaler(bounds)
    now, names, asked, alive = 0.0, 0, {}, {}

    def note(effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Launch):
                asked[effect.token] = effect.count

    note(machine.handle(TimePassed(), now))
    for _ in range(data.draw(st.integers(0, 40))):
        now += data.draw(st.sampled_from([0.0, 0.5, 5.0, 60.0, 200.0]))
        kind = data.draw(st.integers(0, 6))
        if kind == 0:
            load = Load(data.draw(st.integers(0, 300)), data.draw(st.integers(0, 12)))
            note(machine.handle(LoadObserved(load), now))
        elif kind == 1 and asked:
            token = data.draw(st.sampled_from(sorted(asked)))
            count = data.draw(st.integers(0, asked.pop(token)))
            started_now = tuple(f"i{names + n}" for n in range(count))
            names += count
            alive |= dict.fromkeys(started_now)
            note(machine.handle(Launched(token, started_now), now))
        elif kind == 2 and asked:
            note(machine.handle(LaunchRefused(data.draw(st.sampled_from(sorted(asked))), "x"), now))
        elif kind == 3 and alive:
            note(machine.handle(InstanceReady(data.draw(st.sampled_from(sorted(alive)))), now))
        elif kind == 4 and alive:
            gone = data.draw(st.sampled_from(sorted(alive)))
            del alive[gone]
            note(machine.handle(InstanceGone(gone), now))
        elif kind == 5:
            held = data.draw(st.none() | st.integers(0, 20))
            note(machine.handle(SizeHeld(held), now))
        else:
            note(machine.handle(TimePassed(), now))
        machine.check()
        assert machine.next_deadline() >= now
