"""google.devtools.build.v1.PublishBuildEvent: builds tell how they go (`--bes_backend`).

Events are taken into an index and acknowledged one by one, in their order; nothing is queued, so
a client that is faster than the index waits for its window.
"""

from collections.abc import Callable

from builder.builds.index import Builds
from builder.net.rpc import Call, Context, Method, Service
from builder.reapi.pb import empty_pb2
from builder.reapi.pb import publish_build_event_pb2 as pb
from builder.server.messages import parse

NAME = "google.devtools.build.v1.PublishBuildEvent"
MAX_EVENT_BYTES = 16 * 1024 * 1024  # lists of files, and what a build printed


class BuildEventsService:
    """`wall_ns` is the time for people."""

    def __init__(self, builds: Builds, wall_ns: Callable[[], int]) -> None:
        self._builds = builds
        self._wall_ns = wall_ns

    def service(self) -> Service:
        return Service(
            NAME,
            (
                Method(f"/{NAME}/PublishLifecycleEvent", unary=self.lifecycle),
                Method(
                    f"/{NAME}/PublishBuildToolEventStream",
                    stream=self.stream,
                    max_request_bytes=MAX_EVENT_BYTES,
                ),
            ),
        )

    def lifecycle(self, data: bytes, _context: Context) -> bytes:
        request = parse(pb.PublishLifecycleEventRequest, data)
        self._builds.take(request.build_event, request.project_id, self._wall_ns())
        return empty_pb2.Empty().SerializeToString()

    async def stream(self, call: Call) -> None:
        while (data := await call.receive()) is not None:
            request = parse(pb.PublishBuildToolEventStreamRequest, data)
            ordered = request.ordered_build_event
            self._builds.take(ordered, request.project_id, self._wall_ns())
            response = pb.PublishBuildToolEventStreamResponse(
                stream_id=ordered.stream_id, sequence_number=ordered.sequence_number
            )
            await call.send(response.SerializeToString())
