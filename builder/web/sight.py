"""What the dashboard asks of the service around it; `assembly` gives it."""

from collections.abc import Sequence
from typing import Protocol

from builder.reapi.pb import control_pb2 as pb
from builder.telemetry.series import Sample


class Sight(Protocol):
    """Errors are StatusErrors, whose messages are for people."""

    def status(self, details: bool) -> pb.Status: ...

    def samples(self) -> Sequence[Sample]: ...

    def decisions(self) -> Sequence[str]:
        """What the pool decided lately and why, the newest first."""
        ...

    def builds(self) -> Sequence[tuple[str, str]]:
        """Builds that told of themselves (Build Event Service): a name and a sentence each."""
        ...

    def actions(self, request: pb.ListActionsRequest) -> pb.ListActionsResponse: ...

    async def action(self, id_: str) -> pb.ActionDetails: ...

    async def explain(self, id_: str) -> pb.MissExplanation: ...

    def cancel(self, id_: str) -> None: ...

    def drain(self, worker: str) -> None: ...

    def scale(self, workers: int | None) -> None: ...

    def version(self) -> int:
        """Grows with each change of an action."""
        ...
