"""What the dashboard asks of the service around it; `assembly` gives it."""

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from builder.base.digest import Digest
from builder.builds.invocation import Invocation
from builder.builds.tally import Tally
from builder.reapi.pb import control_pb2 as pb
from builder.telemetry.series import Sample


class Entry(Protocol):
    """Of a directory: a file with its digest, a link with its target, or a directory."""

    @property
    def name(self) -> str: ...

    @property
    def digest(self) -> Digest | None: ...

    @property
    def target(self) -> str: ...

    @property
    def is_directory(self) -> bool: ...


class Found(Protocol):
    """A directory with its entries, or a file."""

    @property
    def entries(self) -> Sequence[Entry]: ...

    @property
    def file(self) -> Digest | None: ...


class Sight(Protocol):
    """Errors are StatusErrors, whose messages are for people."""

    def status(self, details: bool) -> pb.Status: ...

    def samples(self) -> Sequence[Sample]: ...

    def decisions(self) -> Sequence[str]:
        """What the pool decided lately and why, the newest first."""
        ...

    def builds(self) -> Sequence[Invocation]:
        """The latest that told of themselves (Build Event Service)."""
        ...

    def build(self, invocation: str) -> Invocation | None:
        """What a build has told of itself."""
        ...

    def actions(self, request: pb.ListActionsRequest) -> pb.ListActionsResponse: ...

    def tallies(self, invocation: str = "") -> Sequence[Tally]:
        """Invocations summed up, the newest first; or only one, if it is known."""
        ...

    async def action(self, id_: str) -> pb.ActionDetails: ...

    async def explain(self, id_: str) -> pb.MissExplanation: ...

    async def inputs(self, id_: str, path: str) -> Found:
        """What lies at a path of an action's input tree."""
        ...

    async def outputs(self, id_: str, path: str) -> Found: ...

    def read(self, id_: str, digest: Digest) -> AsyncGenerator[bytes, None]: ...

    async def output(self, id_: str, stream: str) -> AsyncGenerator[bytes, None]:
        """`stdout` or `stderr` as it grows, to the action's end."""
        ...

    def cancel(self, id_: str) -> None: ...

    async def again(self, id_: str) -> str:
        """Run it once more, whatever the cache holds; the new one's id."""
        ...

    def drain(self, worker: str) -> None: ...

    def scale(self, pool: str, workers: int | None) -> None: ...

    def version(self) -> int:
        """Grows with each change of an action."""
        ...
