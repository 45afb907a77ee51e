"""Server reflection, v1 and v1alpha: the two speak the same bytes.

Files come from our own descriptor pool; a file is sent with everything that it imports, so that
tools need one request. Only services that are registered are listed.
"""

from collections.abc import Sequence

from google.protobuf.descriptor import FileDescriptor

from builder.base.errors import Code
from builder.net.rpc import Call, Method, Service
from builder.reapi.pb import reflection_pb2 as pb
from builder.reapi.pb import reflection_v1alpha_pb2 as alpha
from builder.reapi.pb.pool import POOL
from builder.server.messages import parse

NAMES = tuple(
    file.services_by_name["ServerReflection"].full_name
    for file in (pb.DESCRIPTOR, alpha.DESCRIPTOR)
)


class ReflectionService:
    """`names` of the services that are registered, these two left out."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = (*names, *NAMES)

    def services(self) -> tuple[Service, ...]:
        return tuple(
            Service(name, (Method(f"/{name}/ServerReflectionInfo", stream=self.info),))
            for name in NAMES
        )

    async def info(self, call: Call) -> None:
        while (data := await call.receive()) is not None:
            request = parse(pb.ServerReflectionRequest, data)
            response = self._answer(request)
            response.valid_host = request.host
            response.original_request.CopyFrom(request)
            await call.send(response.SerializeToString())

    def _answer(self, request: pb.ServerReflectionRequest) -> pb.ServerReflectionResponse:
        response = pb.ServerReflectionResponse()
        try:
            match request.WhichOneof("message_request"):
                case "list_services":
                    for name in self._names:
                        response.list_services_response.service.add(name=name)
                case "file_by_filename":
                    _put_file(response, POOL.FindFileByName(request.file_by_filename))
                case "file_containing_symbol":
                    symbol = request.file_containing_symbol
                    _put_file(response, POOL.FindFileContainingSymbol(symbol))
                case "all_extension_numbers_of_type":  # proto3: there are none
                    kind = request.all_extension_numbers_of_type
                    POOL.FindMessageTypeByName(kind)
                    response.all_extension_numbers_response.base_type_name = kind
                case "file_containing_extension":
                    raise KeyError(str(request.file_containing_extension.extension_number))
                case _:
                    response.error_response.error_code = Code.INVALID_ARGUMENT
                    response.error_response.error_message = "the request asks for nothing"
        except KeyError as error:
            response.error_response.error_code = Code.NOT_FOUND
            response.error_response.error_message = f"not known here: {error.args[0]}"
        return response


def _put_file(response: pb.ServerReflectionResponse, file: FileDescriptor) -> None:
    seen: dict[str, FileDescriptor] = {file.name: file}
    waiting = [file]
    while waiting:
        for imported in waiting.pop().dependencies:
            if imported.name not in seen:
                seen[imported.name] = imported
                waiting.append(imported)
    response.file_descriptor_response.file_descriptor_proto.extend(
        one.serialized_pb for one in seen.values()
    )
