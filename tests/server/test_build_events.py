"""Build events from a foreign client."""

from types import SimpleNamespace
from typing import Any

import trio

from builder.builds.index import Builds
from builder.server.build_events import BuildEventsService
from tests.assembly.independent import message
from tests.server.conftest import Start, ask, refused


def request(f: SimpleNamespace, number: int, **payload: Any) -> Any:
    """An event of Bazel's own protocol, or the stream's end."""
    made = f.bes.PublishBuildToolEventStreamRequest(project_id="project")
    ordered = made.ordered_build_event
    ordered.stream_id.build_id = "build"
    ordered.stream_id.invocation_id = "invocation"
    ordered.stream_id.component = 3
    ordered.sequence_number = number
    if payload:
        event = message("build_event_stream.BuildEvent")(**payload)
        ordered.event.bazel_event.type_url = "type.googleapis.com/build_event_stream.BuildEvent"
        ordered.event.bazel_event.value = event.SerializeToString()
    else:
        ordered.event.component_stream_finished.type = 1
    return made


async def test_events_are_acknowledged_in_order(start: Start, foreign: SimpleNamespace) -> None:
    """One by one while the stream is open; then the invocation is in the index."""
    builds = Builds()
    channel = await start(BuildEventsService(builds, lambda: 5).service())
    stub = foreign.bes_grpc.PublishBuildEventStub(channel)
    events = [
        request(foreign, 1, started={"command": "build"}),
        request(foreign, 2, finished={"exit_code": {"name": "SUCCESS"}}),
        request(foreign, 3),
    ]

    def talk() -> list[tuple[str, int]]:
        stream = stub.PublishBuildToolEventStream(iter(events), timeout=60)
        return [(one.stream_id.invocation_id, one.sequence_number) for one in stream]

    answers = await trio.to_thread.run_sync(talk)
    assert answers == [("invocation", n) for n in (1, 2, 3)]
    [found] = builds.invocations()
    assert (found.id, found.build_id, found.project) == ("invocation", "build", "project")
    assert (found.command, found.state, found.ended) == ("build", "succeeded", True)


async def test_lifecycle_events(start: Start, foreign: SimpleNamespace) -> None:
    """An invocation is known from its start, and ended by its end; both are answered."""
    builds = Builds()
    channel = await start(BuildEventsService(builds, lambda: 5).service())
    stub = foreign.bes_grpc.PublishBuildEventStub(channel)
    lifecycle = foreign.bes.PublishLifecycleEventRequest(project_id="p")
    ordered = lifecycle.build_event
    ordered.stream_id.build_id, ordered.stream_id.component = "build", 1
    ordered.sequence_number = 1
    ordered.event.build_enqueued.SetInParent()
    await ask(stub.PublishLifecycleEvent, lifecycle)
    assert list(builds.invocations()) == []
    ordered.stream_id.invocation_id = "one"
    ordered.event.invocation_attempt_started.attempt_number = 1
    await ask(stub.PublishLifecycleEvent, lifecycle)
    assert [(one.id, one.state) for one in builds.invocations()] == [("one", "running")]
    ordered.sequence_number = 2
    ordered.event.invocation_attempt_finished.SetInParent()
    await ask(stub.PublishLifecycleEvent, lifecycle)
    assert [(one.id, one.state) for one in builds.invocations()] == [("one", "interrupted")]


async def test_a_lost_event_ends_the_stream(start: Start, foreign: SimpleNamespace) -> None:
    """OUT_OF_RANGE, with what is wanted."""
    channel = await start(BuildEventsService(Builds(), lambda: 5).service())
    stub = foreign.bes_grpc.PublishBuildEventStub(channel)
    events = [request(foreign, 1, started={}), request(foreign, 3, started={})]
    code, said = await refused(stub.PublishBuildToolEventStream, iter(events))
    assert code == "OUT_OF_RANGE"
    assert "send 2 first" in said
