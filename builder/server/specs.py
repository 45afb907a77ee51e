"""An action as the scheduler sees it, made from the lease that a worker would get."""

from functools import lru_cache

from google.protobuf.message import DecodeError

from builder.reapi.digests import NAMES
from builder.reapi.limits import action_limits
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.reapi.pb import workers_pb2
from builder.reapi.persistent import known_as
from builder.reapi.resources import resources_of
from builder.schedule.making import new
from builder.schedule.platform import Properties
from builder.schedule.resources import Amounts, amounts
from builder.schedule.spec import ActionKey, ActionSpec, Client


def spec_of(
    granted: workers_pb2.LeaseGranted,
    properties: Properties,
    priority: int,
    skip_cache: bool,
    user: str = "",
) -> ActionSpec:
    """`granted` has neither id nor attempt yet: those belong to a lease.

    Raises InvalidArgumentError for needs that are not understood.
    """
    digest, action = granted.action_digest, granted.action
    need, own_memory = _wants(properties)
    function = NAMES[granted.digest_function]
    return ActionSpec(
        key=new(ActionKey, (granted.instance_name, function, digest.hash, digest.size_bytes)),
        properties=properties,
        priority=priority,
        do_not_cache=action.do_not_cache,
        skip_cache=skip_cache,
        client=client_of(granted.request_metadata, user),
        payload=granted.SerializeToString(),
        need=need,
        root=action.input_root_digest.hash,
        kind=_kind(granted),
        program=known_as(
            properties, granted.instance_name, granted.request_metadata.action_mnemonic
        ),
        own_memory=own_memory,
        avoid=tuple(granted.avoid),
    )


@lru_cache(1024)
def _wants(properties: Properties) -> tuple[Amounts, bool]:
    """What is asked for, and whether the limit of memory is among it. Most actions ask alike.

    Raises InvalidArgumentError.
    """
    limits = action_limits(properties)
    return amounts(resources_of(properties)), limits.memory_bytes is not None


def metadata_of(raw: object) -> pb.RequestMetadata:
    """The message of a header's value; without it, or when it is broken: an empty one."""
    message = pb.RequestMetadata()
    if isinstance(raw, bytes):
        try:
            message.ParseFromString(raw)
        except DecodeError:  # only for people's eyes, so no reason to refuse the action
            return pb.RequestMetadata()
    return message


def _kind(granted: workers_pb2.LeaseGranted) -> str:
    """What makes actions alike: the same target and mnemonic, or else the same command."""
    metadata = granted.request_metadata
    if metadata.target_id and metadata.action_mnemonic:
        return f"{metadata.action_mnemonic} {metadata.target_id}"
    return granted.action.command_digest.hash


def client_of(metadata: pb.RequestMetadata, user: str = "") -> Client:
    return Client(
        tool=metadata.tool_details.tool_name,
        invocation=metadata.tool_invocation_id,
        correlated=metadata.correlated_invocations_id,
        target=metadata.target_id,
        mnemonic=metadata.action_mnemonic,
        user=user,
    )
