"""Messages compiled by grpcio-tools from our `.proto` files, apart from those that we check in."""

import importlib.resources
import threading
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from google.protobuf import descriptor_pb2, message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_tools import protoc

COMPILING = threading.Lock()  # two pools would be two classes of each message
PROTOS = Path(__file__).parent.parent.parent / "schema" / "proto"


def pool() -> DescriptorPool:
    """Everything under `schema/proto`, in a pool of its own; one for all threads."""
    with COMPILING:
        return compiled()


@cache
def compiled() -> DescriptorPool:
    included = importlib.resources.files("grpc_tools") / "_proto"
    files = [str(path.relative_to(PROTOS)) for path in sorted(PROTOS.rglob("*.proto"))]
    with TemporaryDirectory() as folder:
        out = Path(folder, "set")
        options = [f"-I{PROTOS}", f"-I{included}", "--include_imports"]
        assert protoc.main(["protoc", *options, f"--descriptor_set_out={out}", *files]) == 0
        every = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes())
    made = DescriptorPool()
    for file in every.file:  # imports come first
        made.Add(file)
    return made


def message(name: str) -> Any:
    """The class of `package.Message`."""
    return message_factory.GetMessageClass(pool().FindMessageTypeByName(name))
