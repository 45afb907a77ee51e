"""An action once more, for an operator: whatever the cache holds, and with nobody waiting for it.

The operation is an ordinary one; only its client is this service itself, so that it goes on when
the browser that asked has long been closed.
"""

from collections.abc import Callable

import trio

from builder.base.errors import FailedPreconditionError, StatusError
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.reapi.pb import workers_pb2
from builder.server.admission import Admission, Asked
from builder.server.operation_messages import digest_of_key
from builder.server.scheduler import Scheduler
from builder.server.watching import Watcher


class Rerunner:
    """`nursery` is that of the whole service; each instance's actions are read by its admission."""

    def __init__(
        self,
        scheduler: Scheduler,
        admission_of: Callable[[str], Admission],
        wall_ns: Callable[[], int],
        nursery: trio.Nursery,
    ) -> None:
        self._scheduler = scheduler
        self._admission_of = admission_of
        self._wall_ns = wall_ns
        self._nursery = nursery

    async def again(self, id_: str) -> str:
        """The new operation's name. Raises NotFoundError, InvalidArgumentError for an id of none
        or several; FailedPreconditionError when something of the action is no longer stored."""
        record = self._scheduler.history.find(id_)
        key, client = record.spec.key, record.spec.client
        metadata = pb.RequestMetadata(
            tool_invocation_id=client.invocation,
            correlated_invocations_id=client.correlated,
            target_id=client.target,
            action_mnemonic=client.mnemonic,
        )
        metadata.tool_details.tool_name = client.tool
        asked = workers_pb2.LeaseGranted.FromString(record.spec.payload).request_metadata
        metadata.MergeFrom(asked)
        try:
            spec = await self._admission_of(key.instance).admit(
                Asked(
                    key.instance,
                    digest_of_key(key),
                    metadata,
                    self._wall_ns(),
                    record.spec.priority,
                    skip_cache=True,
                )
            )
        except StatusError as error:
            raise FailedPreconditionError(f"it cannot run again: {error.message}") from error
        watcher = self._scheduler.submit(key.instance, spec)
        self._nursery.start_soon(self._outlast, watcher)
        return watcher.operation

    async def _outlast(self, watcher: Watcher) -> None:
        try:
            while (await watcher.next()).ending is None:
                pass
        except StatusError:
            pass  # refused: the history says why
        finally:
            self._scheduler.leave(watcher)
