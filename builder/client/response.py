"""What a server says of an action, while it runs and at its end, in words for people."""

import time

from builder.base.errors import Code
from builder.client.console import Console
from builder.client.executor import proof_of
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.reapi.status import to_error
from builder.reapi.times import nanoseconds

NOT_FOUND = 127  # of a shell
ABSENT = "a program was not found: actions have a PATH of their own, which 'env' may change"


class Watcher:
    """Tells once where a target runs, as soon as that is known."""

    def __init__(self, console: Console, target: str) -> None:
        self._console = console
        self._target = target
        self._said = False

    def hear(self, metadata: pb.ExecutedActionMetadata) -> None:
        proof = proof_of(metadata)
        if proof.worker and proof.backend:
            self.say(str(proof))

    def say(self, proof: str) -> None:
        if not self._said:
            self._said = True
            self._console.executing(self._target, proof)


def told_proof(response: pb.ExecuteResponse) -> tuple[str, str]:
    """Where it ran, and what the worker says beyond that: `w (hermetic: b): out of memory`."""
    if not response.message:
        return str(proof_of(response.result.execution_metadata)), ""
    proof, closing, detail = response.message.partition("): ")
    return (proof + ")", detail) if closing else (proof, "")


def failure(response: pb.ExecuteResponse, detail: str) -> str:
    """Why it is no success; empty for one."""
    status, result = response.status, response.result
    if status.code == Code.DEADLINE_EXCEEDED:
        return f"{status.message}; raise 'timeout' in 'hermetic', or make it faster"
    if status.code:
        error = to_error(status)
        return f"{error.message} ({error.code.name})"
    if not result.exit_code:
        return ""
    if detail:
        return f"{detail} (exit code {result.exit_code})"
    if result.exit_code == NOT_FOUND:
        return f"exit code {NOT_FOUND} ({ABSENT})"
    killed = result.exit_code - 128
    signal = f" (128 + signal {killed})" if 0 < killed <= 64 else ""
    return f"exit code {result.exit_code}{signal}"


def stored_at(metadata: pb.ExecutedActionMetadata) -> float | None:
    if not metadata.HasField("worker_completed_timestamp"):
        return None
    return nanoseconds(metadata.worker_completed_timestamp) / 1e9


def age_s(at: float | None) -> float | None:
    return None if at is None else max(0.0, time.time() - at)
