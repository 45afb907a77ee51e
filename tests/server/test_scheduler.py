"""The scheduler's task: what it does when others are slow, gone or broken."""

import itertools
from typing import get_args

import pytest
import trio

from builder.base.digest import Digest
from builder.base.errors import ResourceExhaustedError
from builder.reapi.pb.remote_execution_pb2 import ActionResult
from builder.schedule import effects, events
from builder.schedule.fleet import WorkerInfo
from builder.schedule.machine import Machine
from builder.schedule.operation import OperationView, Stage
from builder.schedule.policy import Policy
from builder.schedule.spec import ActionKey, ActionSpec, Outcome
from builder.server.scheduler import AT_ONCE, Scheduler
from builder.server.watching import UNSENT, Mail, Watcher


class FullCache:
    """An action cache that cannot take anything."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def lookup(self, instance: str, action: Digest) -> ActionResult | None:
        return None

    async def store(self, instance: str, action: Digest, result: ActionResult) -> None:
        raise self.error


class Post:
    """A worker's line that keeps what comes."""

    def __init__(self) -> None:
        self._in, self.mail = trio.open_memory_channel[Mail](1000)

    def say(self, mail: Mail) -> None:
        self._in.send_nowait(mail)

    def flush(self) -> None:
        """It is there already."""


def scheduler(cache: FullCache, policy: Policy | None = None) -> Scheduler:
    numbers = itertools.count(1)
    return Scheduler(Machine(policy), cache, lambda: str(next(numbers)))


def spec(name: str) -> ActionSpec:
    return ActionSpec(ActionKey("", "sha256", name, 1))


def test_each_effect_is_performed() -> None:
    """None is missing, and none is there that is no effect."""
    every = scheduler(FullCache(ResourceExhaustedError(""))).performers
    assert every.keys() == set(get_args(effects.Effect))


async def ended(watcher: Watcher) -> OperationView:
    while (view := await watcher.next()).ending is None:
        pass
    return view


@pytest.mark.parametrize(
    "error", [ResourceExhaustedError("the disk is full"), OSError(5, "broken")], ids=str
)
async def test_a_cache_that_takes_nothing_costs_no_result(error: Exception) -> None:
    """The client gets its result; that it was not cached is logged."""
    one = scheduler(FullCache(error))
    async with trio.open_nursery() as nursery:
        await nursery.start(one.run)
        session = one.open_session("w", Post())
        one.post(events.WorkerConnected(session, WorkerInfo("w", 1, ())))
        watcher = one.submit("", spec("a"))
        lease = f"{watcher.operation}/1"
        one.post(events.LeaseFinished(session, lease, Outcome(b"", succeeded=True)))
        with trio.fail_after(60):
            assert (await ended(watcher)).stage is Stage.COMPLETED
        one.leave(watcher)
        one.close_session(session)
        nursery.cancel_scope.cancel()


async def test_a_client_that_does_not_listen_hears_the_latest() -> None:
    """Old states are left out, the end never is."""
    watcher = Watcher("a")
    key = ActionKey("", "sha256", "a", 1)
    machine = Machine()
    machine.handle(events.ActionSubmitted("a", spec("a")), 0.0)
    view = machine.operation("a")
    assert view is not None
    for number in range(3 * UNSENT):
        watcher.tell(OperationView("a", key, view.stage, view.reason, worker=str(number)))
    watcher.tell(OperationView("a", key, view.stage, view.reason, worker=str(number)))
    seen = [(await watcher.next()).worker for _ in range(UNSENT)]
    assert seen == [str(number) for number in range(2 * UNSENT, 3 * UNSENT)]
    with trio.move_on_after(0) as scope:
        await watcher.next()
    assert scope.cancelled_caught


async def test_many_events_at_once_let_others_have_their_turn() -> None:
    """A flood is taken in portions, and all of it."""
    one = scheduler(FullCache(OSError()))
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        watchers = [one.submit("", spec(str(number))) for number in range(5 * AT_ONCE)]
        nursery.start_soon(count_turns)
        await nursery.start(one.run)
        assert (await watchers[-1].next()).stage is Stage.QUEUED
        assert turns >= 4
        assert one.snapshot().queued == len(watchers)
        nursery.cancel_scope.cancel()


async def test_the_task_wakes_when_something_is_due(autojump_clock: trio.testing.MockClock) -> None:
    """Nobody has to send anything: a silent worker is found by the time alone."""
    one = scheduler(FullCache(OSError()), Policy(heartbeat_timeout_s=15.0))
    async with trio.open_nursery() as nursery:
        await nursery.start(one.run)
        session = one.open_session("w", line := Post())
        one.post(events.WorkerConnected(session, WorkerInfo("w", 1, ())))
        start = trio.current_time()
        kinds = [type(await line.mail.receive()).__name__ for _ in range(2)]
        assert kinds == ["WelcomeWorker", "CloseSession"]
        assert trio.current_time() - start == pytest.approx(15.0)
        one.close_session(session)
        nursery.cancel_scope.cancel()


async def test_what_is_for_a_stream_that_has_just_ended_is_dropped() -> None:
    """The machine hears of its end a moment later, and nothing is lost by it."""
    one = scheduler(FullCache(OSError()), Policy(reconnect_grace_s=0.01))
    async with trio.open_nursery() as nursery:
        first = one.open_session("w", Post())
        one.post(events.WorkerConnected(first, WorkerInfo("w", 1, ())))
        watcher = one.submit("", spec("a"))
        one.close_session(first)
        second = one.open_session("v", Post())
        one.post(events.WorkerConnected(second, WorkerInfo("v", 1, ())))
        await nursery.start(one.run)
        with trio.fail_after(60):
            while (view := await watcher.next()).worker != "v":
                pass
        assert view.stage is Stage.EXECUTING
        one.leave(watcher)
        one.close_session(second)
        nursery.cancel_scope.cancel()
