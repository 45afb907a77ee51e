"""What is kept of builds, from their events."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.base.errors import InvalidArgumentError, OutOfRangeError
from builder.builds import invocation as kept
from builder.builds.index import Builds
from builder.builds.invocation import ActionFailure, Invocation, TestAttempt
from builder.reapi.pb import build_event_stream_pb2 as bep
from builder.reapi.pb import build_events_pb2 as be
from builder.reapi.pb.publish_build_event_pb2 import OrderedBuildEvent

TYPE = "type.googleapis.com/build_event_stream.BuildEvent"


def ordered(number: int, event: bep.BuildEvent | None = None, id_: str = "i") -> OrderedBuildEvent:
    """An event of the tool's stream; without one, the stream's end."""
    message = OrderedBuildEvent(sequence_number=number)
    message.stream_id.build_id = "b"
    message.stream_id.invocation_id = id_
    message.stream_id.component = be.StreamId.TOOL
    if event is None:
        message.event.component_stream_finished.type = 1
    else:
        message.event.bazel_event.type_url = TYPE
        message.event.bazel_event.value = event.SerializeToString()
    return message


def started(command: str = "test") -> bep.BuildEvent:
    event = bep.BuildEvent(started=bep.BuildStarted(command=command, start_time_millis=5000))
    event.children.add().pattern.pattern.append("//...")
    return event


def completed(label: str, success: bool) -> bep.BuildEvent:
    event = bep.BuildEvent(completed=bep.TargetComplete(success=success))
    event.id.target_completed.label = label
    return event


def story() -> list[bep.BuildEvent]:
    """A test command of two targets, one of which does not compile."""
    configured = bep.BuildEvent(configured=bep.TargetConfigured(target_kind="cc_test rule"))
    configured.id.target_configured.label = "//a:t"
    failed = bep.BuildEvent(action=bep.ActionExecuted(exit_code=1, type="CppCompile"))
    failed.id.action_completed.label = "//b:b"
    failed.id.action_completed.primary_output = "b.o"
    result = bep.BuildEvent(
        test_result=bep.TestResult(status=bep.PASSED, test_attempt_duration_millis=1500)
    )
    result.test_result.execution_info.cached_remotely = True
    about = result.id.test_result
    about.label, about.run, about.shard, about.attempt = "//a:t", 1, 0, 1
    summary = bep.BuildEvent(test_summary=bep.TestSummary(overall_status=bep.FLAKY))
    summary.id.test_summary.label = "//a:t"
    finished = bep.BuildEvent(finished=bep.BuildFinished(finish_time_millis=9000))
    finished.finished.exit_code.name, finished.finished.exit_code.code = "BUILD_FAILURE", 1
    metrics = bep.BuildEvent()
    metrics.build_metrics.action_summary.actions_executed = 3
    metrics.build_metrics.action_summary.runner_count.add(name="remote", count=2)
    metrics.build_metrics.timing_metrics.wall_time_in_ms = 4000
    other = bep.BuildEvent()
    done = [completed("//a:t", True), completed("//b:b", False)]
    return [started(), configured, other, failed, *done, result, summary, finished, metrics]


def test_a_build_from_start_to_end() -> None:
    """Everything that its events told is there."""
    builds = Builds()
    for number, event in enumerate(story(), 1):
        builds.take(ordered(number, event), "p", 7)
    [found] = builds.invocations()
    assert found == Invocation(
        id="i",
        build_id="b",
        project="p",
        heard_ns=7,
        started_ns=5 * 10**9,
        finished_ns=9 * 10**9,
        command="test",
        patterns=["//..."],
        targets={"//a:t": "built", "//b:b": "failed"},
        kinds={"//a:t": "cc_test rule"},
        tests={("//a:t", 1, 0, 1): TestAttempt("//a:t", 1, 0, 1, "passed", 1.5, True)},
        verdicts={"//a:t": "flaky"},
        failures=[ActionFailure("//b:b", "CppCompile", "b.o", 1)],
        exit_name="BUILD_FAILURE",
        exit_code=1,
        metrics=kept.Metrics(executed=3, wall_s=4.0, ways=(("remote", 2),)),
    )
    assert found.state == "failed"


def test_what_is_sent_again_says_nothing_new() -> None:
    """After a broken connection a client repeats what was not acknowledged."""
    builds = Builds()
    events = story()
    for number in (1, 2, 3, 4, 3, 4, 5):
        builds.take(ordered(number, events[number - 1]), "", 0)
    [found] = builds.invocations()
    assert len(found.failures) == 1


@pytest.mark.parametrize("said", [2**63 - 1, -(2**63)])
def test_times_that_are_none_are_taken_too(said: int) -> None:
    """In the fields that Bazel fills, and in those that it filled before."""
    builds = Builds()
    attempt = bep.BuildEvent(test_result=bep.TestResult(test_attempt_duration_millis=said))
    attempt.id.test_result.label = "//a:t"
    again = bep.BuildEvent()
    again.CopyFrom(attempt)
    again.id.test_result.run = 2
    again.test_result.test_attempt_duration.seconds = said
    events = [
        bep.BuildEvent(started=bep.BuildStarted(start_time_millis=said)),
        attempt,
        again,
        bep.BuildEvent(finished=bep.BuildFinished(finish_time_millis=said)),
    ]
    for event in (events[0].started.start_time, events[3].finished.finish_time):
        event.nanos = -1
    for number, event in enumerate(events, 1):
        builds.take(ordered(number, event), "", 0)
    [found] = builds.invocations()
    assert len(found.tests) == 2
    for time_ns in (found.started_ns, found.finished_ns):
        datetime.fromtimestamp(time_ns / 1e9, UTC)  # raises for none


def test_a_gap_is_refused() -> None:
    """The client is told what to send."""
    builds = Builds()
    builds.take(ordered(4, started()), "", 0)  # begun elsewhere, or before a restart
    with pytest.raises(OutOfRangeError, match="send 5 first"):
        builds.take(ordered(6, started()), "", 0)
    with pytest.raises(InvalidArgumentError, match="count from 1"):
        builds.take(ordered(0, started()), "", 0)
    with pytest.raises(InvalidArgumentError, match="neither"):
        builds.take(OrderedBuildEvent(sequence_number=1), "", 0)
    broken = ordered(5, started())
    broken.event.bazel_event.value = b"\xff"
    with pytest.raises(InvalidArgumentError, match="no build_event_stream"):
        builds.take(broken, "", 0)


def test_an_end_without_a_result() -> None:
    """Interrupted; before that it runs, as far as anybody knows."""
    builds = Builds()
    builds.take(ordered(1, started()), "", 0)
    assert [one.state for one in builds.invocations()] == ["running"]
    builds.take(ordered(2), "", 0)
    assert [one.state for one in builds.invocations()] == ["interrupted"]


def test_only_the_latest_are_kept() -> None:
    """The oldest that has ended goes first, even if a running one is older."""
    builds = Builds(most=3)
    builds.take(ordered(1, started(), "runs"), "", 0)
    for n in range(5):
        builds.take(ordered(1, started(), f"ends-{n}"), "", 0)
        builds.take(ordered(2, None, f"ends-{n}"), "", 0)
        builds.check()
    assert [one.id for one in builds.invocations()] == ["ends-4", "ends-3", "runs"]
    assert builds.invocation("ends-0") is None


def test_one_build_is_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is beyond is counted; long texts are cut."""
    monkeypatch.setattr(kept, "MOST_TARGETS", 2)
    one = Invocation("i")
    for label in ("a", "b", "c", "d", "a"):
        one.take(completed(label, True))
    assert (list(one.targets), one.left_out) == (["a", "b"], 2)
    one.take(started("x" * 10_000))
    assert len(one.command) == kept.LONGEST


@given(st.lists(st.tuples(st.sampled_from("xyz"), st.integers(0, 11)), max_size=60))
def test_any_order_of_events(arrivals: list[tuple[str, int]]) -> None:
    """Each is taken, repeated or refused, and the bounds hold."""
    builds = Builds(most=2)
    events: list[bep.BuildEvent | None] = [*story(), None]
    last: dict[str, int] = {}
    for id_, index in arrivals:
        event = events[index % len(events)]
        try:
            builds.take(ordered(index, event, id_), "", 0)
        except (InvalidArgumentError, OutOfRangeError):
            assert index == 0 or index > last[id_] + 1
        else:
            last[id_] = max(index, last.get(id_, 0))
        builds.check()
