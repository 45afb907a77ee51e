"""What a running action has written, for somebody who reads along.

The sandbox writes stdout and stderr into files; these are looked at, again and again, only while
an answer is wanted.
"""

import os
from collections.abc import Callable

import trio

from builder.reapi.pb import workers_pb2
from builder.worker.leases import Held

LOOK_EVERY_S = 0.1
WAIT_S = 20.0  # then the asker hears that there is nothing, and may ask again
PIECE_BYTES = 64 * 1024


async def tail(
    held: Callable[[str], Held | None], wanted: workers_pb2.OutputWanted
) -> workers_pb2.Output:
    """What follows the offset, when there is something; `ended` when there will be nothing."""
    answer = workers_pb2.Output(request_id=wanted.request_id)
    with trio.move_on_after(WAIT_S):
        while True:
            lease = held(wanted.lease_id)
            if lease is None or lease.result is not None:
                answer.ended = True
                return answer
            if lease.scratch and (data := _look(lease.scratch, wanted)):
                answer.data = data
                return answer
            await trio.sleep(LOOK_EVERY_S)
    return answer


def _look(scratch: str, wanted: workers_pb2.OutputWanted) -> bytes:
    name = "stderr" if wanted.stderr else "stdout"
    try:
        descriptor = os.open(os.path.join(scratch, name), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:  # not begun yet, or over: then the lease says so soon
        return b""
    try:
        return os.pread(descriptor, PIECE_BYTES, wanted.offset)
    finally:
        os.close(descriptor)
