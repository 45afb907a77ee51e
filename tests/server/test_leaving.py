"""Clients that come and go by the hundred, and blobs that go while an action is admitted."""

import pytest
import trio

from builder.base.digest import Digest, digest_of
from builder.base.errors import FailedPreconditionError, NotFoundError
from builder.reapi.digests import to_proto
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.schedule.policy import Policy
from builder.server.admission import Admission, Asked, Timeouts
from builder.stores.memory import MemoryBlobStore
from tests.server.farm import HandWorker, farming

CALLS, ACTIONS = 120, 30


async def finish_all(worker: HandWorker) -> None:
    while True:
        await worker.finish((await worker.granted()).lease_id)


async def test_clients_that_leave_leave_nothing_behind() -> None:
    """Some hear their first word and go, others wait for the end; nobody is told for ever."""
    async with farming(Policy(abandon_grace_s=0.01)) as farm:
        actions = [await farm.put_action("echo", str(number)) for number in range(ACTIONS)]

        async def ask(number: int) -> None:
            async with farm.execute(actions[number % ACTIONS]) as client:
                if number % 2:
                    await client.next()
                else:
                    await client.result()

        async with farm.worker("w", slots=8) as worker, trio.open_nursery() as finishing:
            finishing.start_soon(finish_all, worker)
            async with trio.open_nursery() as nursery:
                for number in range(CALLS):
                    nursery.start_soon(ask, number)
            with trio.fail_after(60):
                while farm.scheduler._ears:  # noqa: ASYNC110 - the server hears of it in time
                    await trio.sleep(0.01)
            finishing.cancel_scope.cancel()
        assert farm.machine.snapshot().queued == 0


class Losing(MemoryBlobStore):
    """One that finds a blob damaged only when it is read."""

    lost: Digest | None = None

    def get_nowait(self, digest: Digest) -> bytes | None:
        if digest == self.lost:
            raise NotFoundError("damaged")
        return super().get_nowait(digest)


async def test_what_is_gone_while_it_is_admitted_is_missing() -> None:
    """Action and Command alike, so that the client uploads them again."""
    blobs = Losing(1 << 20)
    command = pb.Command(arguments=["true"]).SerializeToString()
    root = pb.Directory().SerializeToString()
    action = pb.Action(
        command_digest=to_proto(digest_of(command)), input_root_digest=to_proto(digest_of(root))
    ).SerializeToString()
    for data in (command, root, action):
        await blobs.put(digest_of(data), data)
    admission = Admission(blobs, Timeouts())
    asked = Asked("", digest_of(action), pb.RequestMetadata(), 1)
    for lost in (command, action):
        blobs.lost = digest_of(lost)
        with pytest.raises(FailedPreconditionError, match="missing"):
            admission.admit_nowait(asked)
    blobs.lost = None
    spec = admission.admit_nowait(asked)
    assert spec == await admission.admit(asked)
    assert spec is not None
