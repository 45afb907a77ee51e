"""An operation: one client's request to have an action executed, and what it may know of it.

Several operations may wait for one task (identical actions in flight are merged); each gets exactly
one ending. An operation outlives its clients: they may come back by its name, for a while after
they went away and for longer after it has ended.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from builder.base.errors import Code
from builder.schedule.reasons import Reason
from builder.schedule.spec import ActionKey


class Stage(IntEnum):
    """Numbers of REAPI's `ExecutionStage.Value`."""

    CACHE_CHECK = 1
    QUEUED = 2
    EXECUTING = 3
    COMPLETED = 4


class Ending(NamedTuple):
    """How an operation ended: by a worker's `response`, or by a status of our own."""

    reason: Reason
    code: Code = Code.OK
    response: bytes = b""
    succeeded: bool = False  # what the response tells: exit code 0 and status OK


class OperationView(NamedTuple):
    """What a client is told. It has ended when `ending` is there; only then is it COMPLETED."""

    name: str
    key: ActionKey
    stage: Stage
    reason: Reason
    worker: str = ""
    progress: bytes = b""  # serialized ExecutedActionMetadata so far, or empty
    ending: Ending | None = None


@dataclass(slots=True, eq=False)
class Operation:
    name: str
    key: ActionKey
    task: str
    asked_at: float
    watchers: int = 1
    abandon_at: float = 0.0
    ending: Ending | None = None
    ended_at: float = 0.0
