"""What an audited action used beyond its declaration, with the line that would declare it."""

from collections.abc import Callable, Iterable, Iterator

from builder.reapi.pb import remote_execution_pb2 as pb
from builder.reapi.pb import workers_pb2

WORK_TREE = "/builder/work/"  # `sandbox.interface` makes it so on every worker
MOST_SHOWN = 20


def audit_of(metadata: pb.ExecutedActionMetadata) -> workers_pb2.Audit | None:
    """None for an action that was not audited."""
    proof = workers_pb2.ExecutionProof()
    for item in metadata.auxiliary_metadata:
        if item.Unpack(proof) and proof.HasField("audit"):
            return proof.audit
    return None


def report(audit: workers_pb2.Audit, in_project: Callable[[str], bool]) -> Iterator[str]:
    """Lines for people. `in_project`: whether this path relative to the project is there."""
    partly = "" if audit.complete else ", and there may be more"
    if not audit.outside_count:
        yield f"audit: {audit.count} names used, all of them declared{partly}"
        return
    yield f"audit: {audit.outside_count} of {audit.count} names used are not declared{partly}"
    for use, name, program, advice in _once(audit.outside, in_project):
        yield f"  {use:<7} {name} (by {program}){advice}"
    if audit.outside_count > MOST_SHOWN:
        yield f"  ... and {audit.outside_count - MOST_SHOWN} more"


def _once(
    accesses: Iterable[workers_pb2.Audit.Access], in_project: Callable[[str], bool]
) -> Iterator[tuple[str, str, str, str]]:
    for number, one in enumerate(accesses):
        if number == MOST_SHOWN:
            return
        name = one.name.removeprefix(WORK_TREE)
        yield one.use, name, one.program.rpartition("/")[2], _advice(one, name, in_project)


def _advice(access: workers_pb2.Audit.Access, name: str, in_project: Callable[[str], bool]) -> str:
    if access.name.startswith("unix:"):
        return "; no service of the host is in the sandbox"
    if access.use == "connect":
        return "; if it must: 'hermetic: {network: true}'"
    if not access.name.startswith(WORK_TREE):
        return "; it is no file of the project: have it as an input instead"
    if access.use == "write":
        return f"; if it is to be kept: 'outputs: [{name}]', else write to /tmp"
    if in_project(name):
        return f"; declare it: 'inputs: [{name}]'"
    return "; it was not there"
