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

PROTOS = Path(__file__).parent.parent.parent / "schema" / "proto"
COMPILING = threading.Lock()


def pool() -> DescriptorPool:
    """Everything under `schema/proto`, in a pool of its own; one for all threads."""
    return known()[0]


def message(name: str) -> Any:
    """The class of `package.Message`."""
    return known()[1][name]


def known() -> tuple[DescriptorPool, dict[str, Any]]:
    """The pool, and the class of each message. Both are whole before anybody has them: threads that
    made classes at the same time have crashed in protobuf."""
    with COMPILING:
        return compiled()


@cache
def compiled() -> tuple[DescriptorPool, dict[str, Any]]:
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
    names = [file.name for file in every.file]
    return made, message_factory.GetMessageClassesForFiles(names, made)
