"""What a worker is asked to do, and how it tells of its progress."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from builder.base.digest import Digest
from builder.reapi.pb import remote_execution_pb2 as pb


class Stage(Enum):
    FETCHING = "fetching"
    EXECUTING = "executing"
    UPLOADING = "uploading"


@dataclass(frozen=True, slots=True)
class Job:
    """One action to run.

    `action` is the message when the asker has it; otherwise it is read from the store.
    `queued_ns` is the asker's wall clock, 0 when there was no queue. `timeout_s` is what holds
    in the end (the action's own, the server's default or its maximum); None is no limit. `client`
    is who asked, as far as it said, and is kept with the result. `began` hears of the directory
    in which `stdout` and `stderr` grow. `memory_bytes` is what its slot has, where that is more
    than the usual limit. `note` goes into the result's message.
    `absolute_links` are those of inputs, `absolute_outputs` those that the action makes: whether
    they are taken.
    """

    digest: Digest
    action: pb.Action | None = None
    queued_ns: int = 0
    attempt: int = 1
    timeout_s: float | None = None
    absolute_links: bool = False
    absolute_outputs: bool = True
    client: pb.RequestMetadata | None = None
    memory_bytes: int = 0
    note: str = ""
    began: Callable[[str], None] = field(default=lambda _scratch: None, compare=False)


Report = Callable[[Stage, pb.ExecutedActionMetadata], None]


def say_nothing(stage: Stage, metadata: pb.ExecutedActionMetadata) -> None:
    """A `Report` for those who do not ask."""
