"""What each call asks for, and what each role may.

    reader    READ                                 looks into the cache, sees what goes on
    writer    READ, STORE, EXECUTE, RECORD         builds: uploads, executes, writes results
    trusted   READ, STORE, EXECUTE, RECORD         the same, also where RECORD is kept from writers
    worker    READ, STORE, JOIN, STEAL             takes actions, reads inputs, uploads outputs
    operator  everything                           scales, drains

A result that anybody may write is one that anybody may forge, so `trusting` keeps RECORD from
writers: then results come from workers and from those who are trusted. A worker may neither
execute nor write results: what it has run becomes a result by the coordinator's hand. A method
that is not named here is for operators, so that a new one is never open by being forgotten; OPEN
ones (health checks) ask for nothing.
"""

from collections.abc import Mapping
from enum import Enum

REAPI = "/build.bazel.remote.execution.v2."
CAS = f"{REAPI}ContentAddressableStorage/"
BYTES = "/google.bytestream.ByteStream/"
OPERATIONS = "/google.longrunning.Operations/"
ASSET = "/build.bazel.remote.asset.v1."
LOGS = "/build.bazel.remote.logstream.v1.LogStreamService/"
EVENTS = "/google.devtools.build.v1.PublishBuildEvent/"
CONTROL = "/builder.control.Control/"


class Right(Enum):
    """What a call asks for. The values are words for people."""

    OPEN = "ask"
    READ = "read"
    STORE = "store blobs"
    EXECUTE = "execute actions"
    RECORD = "write results"
    JOIN = "join as a worker"
    STEAL = "take waiting actions from a worker"
    OPERATE = "operate the service"


RIGHTS: dict[str, frozenset[Right]] = {
    "reader": frozenset({Right.OPEN, Right.READ}),
    "writer": frozenset({Right.OPEN, Right.READ, Right.STORE, Right.EXECUTE, Right.RECORD}),
    "trusted": frozenset({Right.OPEN, Right.READ, Right.STORE, Right.EXECUTE, Right.RECORD}),
    "worker": frozenset({Right.OPEN, Right.READ, Right.STORE, Right.JOIN, Right.STEAL}),
    "operator": frozenset(Right),
}

METHODS: dict[str, Right] = {
    "/grpc.health.v1.Health/Check": Right.OPEN,
    "/grpc.health.v1.Health/Watch": Right.OPEN,
    "/grpc.health.v1.Health/List": Right.READ,
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": Right.READ,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": Right.READ,
    f"{REAPI}Capabilities/GetCapabilities": Right.READ,
    f"{REAPI}ActionCache/GetActionResult": Right.READ,
    f"{REAPI}ActionCache/UpdateActionResult": Right.RECORD,
    f"{REAPI}Execution/Execute": Right.EXECUTE,
    f"{REAPI}Execution/WaitExecution": Right.EXECUTE,
    f"{CAS}FindMissingBlobs": Right.READ,
    f"{CAS}BatchReadBlobs": Right.READ,
    f"{CAS}GetTree": Right.READ,
    f"{CAS}SplitBlob": Right.READ,
    f"{CAS}BatchUpdateBlobs": Right.STORE,
    f"{CAS}SpliceBlob": Right.STORE,
    f"{BYTES}Read": Right.READ,
    f"{BYTES}Write": Right.STORE,
    f"{BYTES}QueryWriteStatus": Right.STORE,
    f"{OPERATIONS}ListOperations": Right.READ,
    f"{OPERATIONS}GetOperation": Right.READ,
    f"{OPERATIONS}WaitOperation": Right.READ,
    f"{OPERATIONS}CancelOperation": Right.EXECUTE,
    f"{OPERATIONS}DeleteOperation": Right.EXECUTE,
    f"{ASSET}Fetch/FetchBlob": Right.EXECUTE,
    f"{ASSET}Fetch/FetchDirectory": Right.EXECUTE,
    f"{ASSET}Push/PushBlob": Right.RECORD,
    f"{ASSET}Push/PushDirectory": Right.RECORD,
    f"{LOGS}CreateLogStream": Right.STORE,
    f"{EVENTS}PublishLifecycleEvent": Right.EXECUTE,
    f"{EVENTS}PublishBuildToolEventStream": Right.EXECUTE,
    "/builder.workers.Workers/Connect": Right.JOIN,
    "/builder.workers.Stealing/Steal": Right.STEAL,
    f"{CONTROL}GetStatus": Right.READ,
    f"{CONTROL}ListActions": Right.READ,
    f"{CONTROL}GetAction": Right.READ,
    f"{CONTROL}ExplainMiss": Right.READ,
    f"{CONTROL}CancelAction": Right.EXECUTE,
}
HEALTH_PAGES = frozenset({"/healthz", "/readyz"})


def right_of(path: str) -> Right:
    """What a gRPC method asks for."""
    return METHODS.get(path, Right.OPERATE)


def right_of_page(method: str, path: str) -> Right:
    """What an HTTP request asks for: the cache protocol's blobs and results, and pages."""
    if path in HEALTH_PAGES:
        return Right.OPEN
    if method in ("GET", "HEAD"):
        return Right.READ
    if method == "POST" and (path.startswith("/pool/") or path.endswith("/drain")):
        return Right.OPERATE  # forms of the dashboard
    if "cas" in path.split("/")[:-1]:
        return Right.STORE
    return Right.EXECUTE if method == "POST" else Right.RECORD


def trusting(rights: Mapping[str, frozenset[Right]]) -> dict[str, frozenset[Right]]:
    """The same table, but writers write no results."""
    return {**rights, "writer": rights["writer"] - {Right.RECORD}}


def roles_with(right: Right, rights: Mapping[str, frozenset[Right]]) -> list[str]:
    return [role for role, granted in rights.items() if right in granted]
