"""The last run of a target as a coordinator remembers it, in the form of `client.history`."""

from dataclasses import dataclass
from typing import Any

from builder.action.difference import Notes, differences, notes_of_messages
from builder.action.tree import Entry, entries_of
from builder.base.errors import NotFoundError
from builder.net.rpc import Channel
from builder.reapi.digests import NUMBERS
from builder.reapi.pb import control_pb2
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.reapi.times import nanoseconds

CONTROL = "/builder.control.Control/"
GET_TREE = "/build.bazel.remote.execution.v2.ContentAddressableStorage/GetTree"


@dataclass(frozen=True, slots=True)
class Memory:
    """Of a coordinator. `function`: the digest function that clients use there."""

    channel: Channel
    instance: str
    function: str

    async def last(self, target: str) -> dict[str, Any] | None:
        """Whoever asked for it; None if none is remembered with all that it was made of.

        Raises StatusError, as PERMISSION_DENIED.
        """
        request = control_pb2.ListActionsRequest(limit=1, target=target, ran=True)
        data = await self._ask("ListActions", request.SerializeToString())
        found = control_pb2.ListActionsResponse.FromString(data).actions
        notes = await self._notes(found[0]) if found else None
        if notes is None:
            return None
        return {
            "how": f"ran there, {found[0].outcome or found[0].stage},",
            "at": nanoseconds(found[0].queued) / 1e9,
            "where": found[0].worker,
            "notes": notes,
            "reasons": await self._reasons(found[0], notes),
            "function": self.function,
        }

    async def _ask(self, method: str, request: bytes) -> bytes:
        return await self.channel.unary(CONTROL + method, request)

    async def _reasons(self, action: control_pb2.Action, notes: Notes) -> list[str]:
        """Why it was a miss there."""
        request = control_pb2.ExplainMissRequest(id=action.operation).SerializeToString()
        answer = control_pb2.MissExplanation.FromString(await self._ask("ExplainMiss", request))
        earlier = await self._notes(answer.earlier) if answer.HasField("earlier") else None
        found = differences(earlier, notes) if earlier is not None else []
        return found or [answer.conclusion[:1].lower() + answer.conclusion[1:].rstrip(".")]

    async def _notes(self, action: control_pb2.Action) -> Notes | None:
        """None where something of it is no longer stored."""
        request = control_pb2.GetActionRequest(id=action.operation).SerializeToString()
        details = control_pb2.ActionDetails.FromString(await self._ask("GetAction", request))
        if not (details.HasField("action") and details.HasField("command")):
            return None
        instance = action.instance or self.instance
        try:
            inputs = await self._inputs(instance, details.action.input_root_digest)
        except NotFoundError:
            return None
        return notes_of_messages(details.action, details.command, inputs)

    async def _inputs(self, instance: str, root: pb.Digest) -> dict[str, Entry]:
        request = pb.GetTreeRequest(
            instance_name=instance, root_digest=root, digest_function=NUMBERS[self.function]
        )
        directories: list[pb.Directory] = []
        more = True
        while more:
            async with self.channel.stream(GET_TREE) as call:
                await call.send(request.SerializeToString())
                await call.done_sending()
                while (message := await call.receive()) is not None:
                    page = pb.GetTreeResponse.FromString(message)
                    directories += page.directories
                    request.page_token = page.next_page_token
            more = bool(request.page_token)
        return entries_of(pb.Tree(root=directories[0], children=directories[1:]), self.function)
