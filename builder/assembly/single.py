"""One command on a coordinator, without a Builderfile: what `builder.api` is made of."""

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Protocol

import trio
from google.protobuf.json_format import MessageToJson

from builder.assembly.client import Plan, Request, open_build
from builder.assembly.dial import client_access, open_channel
from builder.assembly.settings import load_settings
from builder.base.errors import UsageError
from builder.client.events import Event
from builder.client.listening import Listening, Nowhere
from builder.client.walk import Walker
from builder.config.settings import Settings
from builder.project.graph import graph
from builder.project.model import NO_TEXT, Hermetic, Input, Project, Target, output
from builder.project.paths import pattern
from builder.reapi.pb import control_pb2

NAME = "command"
GET_STATUS = "/builder.control.Control/GetStatus"
PATIENCE_S = 20.0


class Spec(Protocol):
    """`builder.api.SandboxSpec`."""

    @property
    def inputs(self) -> tuple[str, ...]: ...
    @property
    def outputs(self) -> tuple[str, ...]: ...
    @property
    def environment(self) -> Mapping[str, str]: ...
    @property
    def max_memory_bytes(self) -> int | None: ...
    @property
    def max_cpu_cores(self) -> float | None: ...
    @property
    def timeout_s(self) -> float | None: ...
    @property
    def network(self) -> bool | tuple[str, ...]: ...
    @property
    def cache(self) -> bool: ...
    @property
    def audit(self) -> str | None: ...
    @property
    def max_processes(self) -> int | None: ...
    @property
    def deterministic(self) -> bool: ...
    @property
    def programs(self) -> tuple[str, ...]: ...
    @property
    def clock(self) -> int | None: ...


Outcome = tuple[int | None, bytes, bytes, tuple[str, ...], str, bool, str, tuple[str, ...]]


def execute(address: str, command: tuple[str, ...], spec: Spec, directory: Path) -> Outcome:
    """The fields of `builder.api.Result`."""
    if not command:
        raise UsageError("the command is empty: it needs at least the program's name")
    root = directory.absolute()
    found = graph(Project({NAME: _target(command, spec)}, NO_TEXT))
    audit: list[str] = []

    def listen(event: Event) -> None:
        if event.kind == "audited":
            audit.extend(event.more["lines"])

    listening = Listening(Nowhere(), Nowhere(), (listen,))
    request = Request((NAME,), root, remote=True, listening=listening)
    plan = Plan(request, _settings(address), root, found, (NAME,), Walker(root))
    return (*trio.run(_execute, plan), tuple(audit))


def status(address: str) -> str:
    """As JSON."""
    return trio.run(partial(_status, _settings(address)))


def _settings(address: str) -> Settings:
    return load_settings(None, {"client.coordinator": address}, os.environ)[0]


def _target(command: tuple[str, ...], spec: Spec) -> Target:
    return Target(
        NAME,
        arguments=command,
        inputs=tuple(
            Input(text, (number,), pattern(text.removeprefix("!")), text.startswith("!"))
            for number, text in enumerate(spec.inputs)
        ),
        outputs=tuple(output(text, (number,)) for number, text in enumerate(spec.outputs)),
        environment=spec.environment,
        hermetic=Hermetic(
            spec.max_memory_bytes,
            spec.max_cpu_cores,
            spec.timeout_s,
            spec.network,
            spec.audit,
            spec.max_processes,
            spec.deterministic,
            spec.programs,
            spec.clock,
        ),
        cache=spec.cache,
    )


async def _execute(
    plan: Plan,
) -> tuple[int | None, bytes, bytes, tuple[str, ...], str, bool, str]:
    async with open_build(plan) as build:
        summary = await build.run(plan.names)
    if failure := summary.failures.get(NAME):
        streams = failure.streams
        code = failure.exit_code
        return code, streams.stdout, streams.stderr, (), failure.proof, False, failure.reason
    built = summary.built[NAME]
    paths = tuple(built.entries)
    return 0, built.streams.stdout, built.streams.stderr, paths, built.proof, built.cached, ""


async def _status(settings: Settings) -> str:
    client = settings.client
    request = control_pb2.GetStatusRequest(details=True).SerializeToString()
    async with open_channel(str(client.coordinator), client_access(client)) as channel:
        answer = await channel.unary(GET_STATUS, request, timeout_s=PATIENCE_S)
    found = control_pb2.Status.FromString(answer)
    return MessageToJson(found, preserving_proto_field_name=True)
