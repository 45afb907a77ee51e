"""grpcio asks every method of the README's table, by messages compiled apart from ours."""

import re
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.protobuf import message_factory

from tests.assembly.independent import pool
from tests.e2e.service import Service
from tests.e2e.test_grpcio import execute

pytestmark = pytest.mark.slow
README = Path(__file__).parents[2] / "README.md"
ROW = re.compile(r"^\| (\S+\.\S+) \| (\w+) \| (.+?) \|$", re.MULTILINE)
REAPI = "build.bazel.remote.execution.v2"
OPERATIONS = "google.longrunning.Operations"
UNKNOWN_FIELD = b"\xfa\x07\x03abc"
NO_MESSAGE = b"\xff\xff\xff"
WITHOUT_FIELDS = {  # what an empty request of a method is; of all others it is right
    "INVALID_ARGUMENT": (
        f"{REAPI}.ContentAddressableStorage/GetTree",
        f"{REAPI}.ContentAddressableStorage/SplitBlob",
        f"{REAPI}.ContentAddressableStorage/SpliceBlob",
        f"{REAPI}.ActionCache/GetActionResult",
        f"{REAPI}.ActionCache/UpdateActionResult",
        f"{REAPI}.Execution/Execute",
        "google.bytestream.ByteStream/Read",
        "google.bytestream.ByteStream/Write",
        "google.bytestream.ByteStream/QueryWriteStatus",
        "google.devtools.build.v1.PublishBuildEvent/PublishLifecycleEvent",
        "google.devtools.build.v1.PublishBuildEvent/PublishBuildToolEventStream",
        "build.bazel.remote.asset.v1.Fetch/FetchBlob",
        "build.bazel.remote.asset.v1.Fetch/FetchDirectory",
        "build.bazel.remote.asset.v1.Push/PushBlob",
        "build.bazel.remote.asset.v1.Push/PushDirectory",
    ),
    "NOT_FOUND": (
        f"{REAPI}.Execution/WaitExecution",
        "google.longrunning.Operations/GetOperation",
        "google.longrunning.Operations/WaitOperation",
        "google.longrunning.Operations/CancelOperation",
        "google.longrunning.Operations/DeleteOperation",
    ),
}


@pytest.fixture(scope="module")
def channel(service: Service) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(service.reapi) as channel:
        yield channel


def named() -> list[tuple[str, str]]:
    """Service and method."""
    table = README.read_text().partition("<!-- served: begin")[2].partition("<!-- served: end")[0]
    rows = ROW.findall(table)
    return [(f"{one}.{two}", name) for one, two, names in rows for name in names.split(", ")]


def ask(channel: grpc.Channel, service: str, method: str, request: bytes, zipped=False) -> list:
    """The messages of the answer; of one that goes on, the first."""
    kind = pool().FindServiceByName(service).FindMethodByName(method)
    answer = message_factory.GetMessageClass(kind.output_type)
    shape = {
        (False, False): channel.unary_unary,
        (False, True): channel.unary_stream,
        (True, False): channel.stream_unary,
        (True, True): channel.stream_stream,
    }[kind.client_streaming, kind.server_streaming]
    given = shape(f"/{service}/{method}", None, answer.FromString)(
        iter([request]) if kind.client_streaming else request,
        timeout=60,
        compression=grpc.Compression.Gzip if zipped else None,
    )
    if not kind.server_streaming:
        return [given]
    found = [next(given)] if method == "Watch" else list(given)
    given.cancel()
    return found


def status(*asked: object) -> str:
    try:
        ask(*asked)
    except grpc.RpcError as error:
        return error.code().name
    return "OK"


def test_the_table_has_what_is_asked() -> None:
    names = {f"{service}/{method}" for service, method in named()}
    assert {name for some in WITHOUT_FIELDS.values() for name in some} < names


@pytest.mark.parametrize(("service_name", "method"), named())
def test_every_method(channel: grpc.Channel, service_name: str, method: str) -> None:
    """It says what it wants; fields that nobody knows, and a compressed request, change nothing;
    what is no message is INVALID_ARGUMENT."""
    name = f"{service_name}/{method}"
    wanted = next((code for code, some in WITHOUT_FIELDS.items() if name in some), "OK")
    for request, zipped in ((b"", False), (UNKNOWN_FIELD, False), (UNKNOWN_FIELD, True)):
        assert status(channel, service_name, method, request, zipped) == wanted
    reads_nothing = name == "grpc.health.v1.Health/List"
    wrong = "OK" if reads_nothing else "INVALID_ARGUMENT"
    assert status(channel, service_name, method, NO_MESSAGE) == wrong


def test_operations_by_pages(channel: grpc.Channel) -> None:
    """What the action cache answered stands there once, and no page is longer than asked for."""
    for _ in range(6):
        execute(channel, "true", salt="by pages")
    kind = pool().FindServiceByName(OPERATIONS).FindMethodByName("ListOperations")
    request = message_factory.GetMessageClass(kind.input_type)(filter="cached=true", page_size=2)
    pages = []
    while not pages or request.page_token:
        [page] = ask(channel, OPERATIONS, "ListOperations", request.SerializeToString())
        pages.append([operation.name for operation in page.operations])
        request.page_token = page.next_page_token
    names = [name for page in pages for name in page]
    assert len(set(names)) == len(names) >= 5
    assert [len(page) for page in pages[:-1]] == [2] * (len(pages) - 1)
