"""What an audited action used beyond its declaration, with the line that would declare it."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from builder.reapi.pb import remote_execution_pb2 as pb
from builder.reapi.pb import workers_pb2

WORK_TREE = "/builder/work/"  # `sandbox.interface` makes it so on every worker
USUAL_PORTS = ("80", "443")
MOST_SHOWN = 20
MOST_NAMED = 3  # of those that are nowhere


def audit_of(metadata: pb.ExecutedActionMetadata) -> workers_pb2.Audit | None:
    """None for an action that was not audited."""
    proof = workers_pb2.ExecutionProof()
    for item in metadata.auxiliary_metadata:
        if item.Unpack(proof) and proof.HasField("audit"):
            return proof.audit
    return None


def report(
    audit: workers_pb2.Audit,
    in_project: Callable[[str], bool],
    own: Callable[[str], str] = lambda path: path,
) -> Iterator[str]:
    """Lines for people. `in_project`: whether this path relative to the project is there; `own`:
    how the target's Builderfile writes it."""
    partly = "" if audit.complete else ", and there may be more"
    vain = [one for one in audit.outside if _in_vain(one, in_project)]
    used = [one for one in audit.outside if not _in_vain(one, in_project)]
    count = audit.outside_count - len(vain)
    if vain:
        partly = f" ({len(vain)} were looked for and are nowhere: {_some(vain)}){partly}"
    if not count:
        yield f"audit: {audit.count} names used, all of them declared{partly}"
        return
    yield f"audit: {count} of {audit.count} names used are not declared{partly}"
    for use, name, program, advice in _once(used, in_project, own):
        yield f"  {use:<7} {name} (by {program}){advice}"
    if count > MOST_SHOWN:
        yield f"  ... and {count - MOST_SHOWN} more"


def _in_vain(access: workers_pb2.Audit.Access, in_project: Callable[[str], bool]) -> bool:
    """Whether it is neither in the sandbox nor in the project: a compiler that goes through the
    directories of its headers does so for each, and a shell asks for the host's name service."""
    return (
        access.use != "write"
        and not access.there
        and not in_project(access.name.removeprefix(WORK_TREE))
    )


def _some(vain: list[workers_pb2.Audit.Access]) -> str:
    """A few of them, those first whose program has looked for few: a compiler looks for many."""
    of_program = Counter(one.program for one in vain)
    names = [
        f"{one.name.removeprefix(WORK_TREE)} (by {one.program.rpartition('/')[2]})"
        for one in sorted(vain, key=lambda one: of_program[one.program])
    ]
    more = [f"{len(names) - MOST_NAMED} more"] if len(names) > MOST_NAMED else []
    return ", ".join([*names[:MOST_NAMED], *more])


def _once(
    accesses: Iterable[workers_pb2.Audit.Access],
    in_project: Callable[[str], bool],
    own: Callable[[str], str],
) -> Iterator[tuple[str, str, str, str]]:
    for number, one in enumerate(accesses):
        if number == MOST_SHOWN:
            return
        name = one.name.removeprefix(WORK_TREE)
        yield one.use, name, one.program.rpartition("/")[2], _advice(one, name, in_project, own)


def _advice(
    access: workers_pb2.Audit.Access,
    name: str,
    in_project: Callable[[str], bool],
    own: Callable[[str], str],
) -> str:
    if access.name.startswith("unix:"):
        return "; no service of the host is in the sandbox"
    if access.use == "connect":
        return f"; if it must: 'hermetic: {{network: {_network(access.name)}}}'"
    if not access.name.startswith(WORK_TREE):
        return "; it is no file of the project: have it as an input instead"
    if access.use == "write":
        return f"; if it is to be kept: 'outputs: [{own(name)}]', else write to /tmp"
    if in_project(name):
        return f"; declare it: 'inputs: [{own(name)}]'"
    return "; no target makes it"


def _network(name: str) -> str:
    """What to write for this address: a host by its name, anything for a number."""
    host, colon, port = name.rpartition(":")
    if not colon:
        return f"[{name}]"  # it asked for the address
    if not any(letter.isalpha() for letter in host) or host.startswith("["):
        return "true"
    return f"[{host}]" if port in USUAL_PORTS else f"['{name}']"
