"""What a coordinator remembers of targets, for `bldr explain --remote`."""

from collections.abc import Mapping
from typing import Any

import trio

from builder.assembly.dial import client_access, open_channel
from builder.client.explaining import Recall
from builder.client.recalled import Memory
from builder.client.remote import first_contact, served_function
from builder.config.settings import Client


def recall_from(client: Client) -> Recall:
    async def ask(target: str) -> Mapping[str, Any] | None:
        async with open_channel(str(client.coordinator), client_access(client)) as channel:
            capabilities = await first_contact(channel, str(client.coordinator), client.instance)
            memory = Memory(channel, client.instance, served_function(capabilities))
            return await memory.last(target)

    return lambda target: trio.run(ask, target)
