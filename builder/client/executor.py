"""How an action gets run: an interface, and the place that a target is built in.

An Executor runs one action whose blobs are stored already. There is one for a coordinator
(`remote.RemoteExecutor`), and one that runs it in this process's own sandbox (`assembly.client`
makes it of the worker's parts).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from builder.base.digest import Digest
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.reapi.pb import workers_pb2
from builder.stores.interface import ActionCache, BlobStore


@dataclass(frozen=True, slots=True)
class Ticket:
    """What to run. `priority` is REAPI's: lower sooner. `target` is for people. `avoid`: workers
    that shall not run it while others can."""

    action: Digest
    target: str = ""
    priority: int = 0
    skip_cache_lookup: bool = False
    avoid: tuple[str, ...] = ()


Watch = Callable[[pb.ExecutedActionMetadata], None]


class Executor(Protocol):
    async def execute(self, ticket: Ticket, watch: Watch) -> pb.ExecuteResponse:
        """The action's end, whatever it was; `watch` hears what is known of it meanwhile.

        Raises StatusError when it could not be run; FailedPreconditionError with MISSING
        violations when blobs have to be stored again. Cancelling stops the action.
        """
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where targets are built. `greeting` is said when the first target is built there.

    `remote`: whether bytes travel to it, which is worth a line. `function`: the digest function
    that is best spoken with it.
    """

    greeting: str
    remote: bool
    blobs: BlobStore
    results: ActionCache
    executor: Executor
    instance: str = ""
    function: str = "sha256"


@dataclass(frozen=True, slots=True)
class Proof:
    """Where an action ran and what held it in, for people; and what it wrote that is no output,
    by path from the work tree."""

    worker: str
    backend: str
    undeclared: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.worker} (hermetic: {self.backend})" if self.backend else self.worker


def proof_of(metadata: pb.ExecutedActionMetadata) -> Proof:
    """As far as the metadata says; empty texts where it does not."""
    proof = workers_pb2.ExecutionProof()
    for item in metadata.auxiliary_metadata:
        item.Unpack(proof)  # does nothing to those of another type
    return Proof(metadata.worker, proof.backend, tuple(proof.undeclared))
