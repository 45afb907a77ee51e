"""An action as the scheduler sees it, made from the lease that a worker would get."""

from google.protobuf.message import DecodeError

from builder.reapi.digests import NAMES
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.reapi.pb import workers_pb2
from builder.schedule.platform import Properties
from builder.schedule.spec import ActionKey, ActionSpec, Client


def spec_of(
    granted: workers_pb2.LeaseGranted, properties: Properties, priority: int, skip_cache: bool
) -> ActionSpec:
    """`granted` has neither id nor attempt yet: those belong to a lease."""
    digest = granted.action_digest
    function = NAMES[granted.digest_function]
    return ActionSpec(
        key=ActionKey(granted.instance_name, function, digest.hash, digest.size_bytes),
        properties=properties,
        priority=priority,
        do_not_cache=granted.action.do_not_cache,
        skip_cache=skip_cache,
        client=client_of(granted.request_metadata),
        payload=granted.SerializeToString(),
    )


def metadata_of(raw: object) -> pb.RequestMetadata:
    """The message of a header's value; without it, or when it is broken: an empty one."""
    message = pb.RequestMetadata()
    if isinstance(raw, bytes):
        try:
            message.ParseFromString(raw)
        except DecodeError:  # only for people's eyes, so no reason to refuse the action
            return pb.RequestMetadata()
    return message


def client_of(metadata: pb.RequestMetadata) -> Client:
    return Client(
        tool=metadata.tool_details.tool_name,
        invocation=metadata.tool_invocation_id,
        correlated=metadata.correlated_invocations_id,
        target=metadata.target_id,
        mnemonic=metadata.action_mnemonic,
    )
