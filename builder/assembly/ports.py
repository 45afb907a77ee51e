"""The gRPC ports from the settings: addresses, limits of the wire, upkeep of connections."""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from builder.assembly.guard import Guard
from builder.assembly.private_folder import private_folder
from builder.config.settings import Connections, Settings, WireLimits
from builder.net.listeners import Listener, open_listeners
from builder.net.upkeep import Upkeep
from builder.wire.limits import Limits


@dataclass(frozen=True, slots=True)
class Ports:
    """Open listeners. `inside` is what the workers of the pool on this host dial."""

    coordinator: list[Listener]
    reapi: list[Listener]
    own: list[Listener]

    @property
    def groups(self) -> list[list[Listener]]:
        return [group for group in (self.coordinator, self.reapi, self.own) if group]

    @property
    def inside(self) -> str:
        return (self.own or self.coordinator)[0].address


@asynccontextmanager
async def open_ports(settings: Settings, guard: Guard) -> AsyncIterator[Ports]:
    """Raises UsageError for an address that cannot be bound.

    Where TLS or authentication guards the coordinator's port, workers of our own pool come by a
    Unix socket in a directory that nobody else can enter: they need no certificates.
    """
    opened: list[list[Listener]] = []
    with private_folder() as folder:
        try:
            opened.append(await open_listeners(str(settings.coordinator.listen), guard.grpc_tls))
            opened.append(await open_listeners(str(settings.reapi.listen), guard.grpc_tls))
            if settings.role == "all" and guard.is_closed:
                opened.append(await open_listeners(f"unix:{Path(folder) / 'own'}"))
            yield Ports(opened[0], opened[1], opened[2] if len(opened) > 2 else [])
        finally:
            for listener in (one for group in opened for one in group):
                listener.close()


def wire_limits(limits: WireLimits) -> Limits:
    return Limits(
        max_streams=limits.max_streams,
        max_header_list=limits.max_header_size,
        max_message=limits.max_message_size,
        initial_window=limits.initial_window,
        stream_window=limits.stream_window,
        all_windows=limits.all_windows,
        connection_window=limits.connection_window,
        max_frame=limits.max_frame_size,
        max_unfinished=limits.max_unfinished,
        all_unfinished=limits.all_unfinished,
        rate_window_s=limits.rate_window,
        max_resets=limits.max_resets,
        max_control=limits.max_control_frames,
        max_tiny_data=limits.max_tiny_frames,
    )


def upkeep_of(times: Connections) -> Upkeep:
    return Upkeep(
        headers_s=times.headers_timeout,
        ping_after_s=times.keepalive,
        ping_answer_s=times.keepalive_timeout,
        stall_s=times.stall_timeout,
        max_age_s=times.max_age or math.inf,
        age_jitter=times.max_age_jitter,
        handshake_s=times.handshake_timeout,
    )
