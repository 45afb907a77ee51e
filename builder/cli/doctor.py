"""`builder doctor`: what this host can isolate and limit, and how to get the rest."""

import json
import os
import tempfile
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click
import trio

from builder.assembly.settings import load_settings
from builder.base.errors import BuilderError
from builder.base.moments import FIRST
from builder.base.units import format_size
from builder.cli.options import config_option
from builder.config.settings import Images
from builder.host.facts import Facts, facts
from builder.host.obstacles import obstacles

if TYPE_CHECKING:
    from builder.sandbox.interface import Sandbox, SandboxSpec

LIMITS = (
    ("memory", "memory-cgroup", "rlimit, for each process"),
    ("processes", "processes-cgroup", "rlimit"),
    ("cpu", "cpu-cgroup", "affinity, in whole cores"),
)


KERNELS = {"linux": "Linux", "macos": "Darwin", "windows": "NT"}
STILL = "can stand still (hermetic: {clock: fixed}), by a preloaded library"
NO_ENGINE = "no engine, which only .wasm actions need: pip install wasmtime"
WITHOUT_LANDLOCK = {
    "what": "Landlock, a second layer behind the mounts, is not in this kernel or switched off",
    "command": "run Linux 5.19 or later, with landlock in `lsm=` on the kernel's command line",
}


async def examine(images: Images) -> dict[str, Any]:
    """Start a real sandbox, run one action in it, and see what held; and an image, if it can."""
    from builder.assembly.images import image_problem
    from builder.sandbox.interface import Limits, Outcome, SandboxSpec
    from builder.sandbox.opening import open_sandbox

    with tempfile.TemporaryDirectory(prefix="builder-doctor-") as base:
        inputs, scratch = (os.path.join(base, name) for name in ("inputs", "scratch"))
        os.mkdir(inputs)
        os.mkdir(scratch)
        spec = SandboxSpec(
            ("/bin/sh", "-c", "echo fine"),
            inputs,
            scratch,
            limits=Limits(wall_s=10, memory_bytes=64 << 20, processes=16, cpu_cores=1),
        )
        async with open_sandbox(ready=1) as sandbox, await sandbox.run(spec) as finished:
            done = finished.exit
            return {
                "images": await image_problem(sandbox, images, base),
                "clock": await clock_problem(sandbox, spec),
                "backend": done.backend,
                "guarantees": list(done.guarantees),
                "limits": list(done.limits),
                "works": done.outcome is Outcome.EXITED and done.exit_code == 0,
                "result_ms": round((done.usage.setup_s + done.usage.wall_s) * 1000, 1),
                "problem": done.message,
            }


async def clock_problem(sandbox: "Sandbox", spec: "SandboxSpec") -> str:
    """Why an action's wall clock cannot stand still here; empty when it does."""
    scratch = f"{spec.scratch}-clock"
    os.mkdir(scratch)
    spec = replace(spec, argv=("/bin/sh", "-c", "date +%s"), scratch=scratch, clock=FIRST)
    try:
        async with await sandbox.run(spec) as finished:
            said = (await trio.Path(finished.exit.stdout).read_text()).strip()
    except BuilderError as error:
        return str(error)
    return "" if said == str(FIRST) else f"in spite of it date says {said!r}"


def report(images: Images) -> dict[str, Any]:
    """Everything that doctor knows, as one value."""
    isolation, groups = obstacles()
    try:
        sandbox = trio.run(examine, images)
    except BuilderError as error:
        sandbox = {"works": False, "problem": str(error), "guarantees": [], "limits": []}
    missing = [
        {"what": obstacle.what, "command": obstacle.command} for obstacle in [*isolation, *groups]
    ]
    if sandbox["works"] and "landlock" not in sandbox["guarantees"]:
        missing.append(WITHOUT_LANDLOCK)
    return {
        "host": facts().as_dict(),
        "user": os.getuid(),
        "sandbox": sandbox,
        "webassembly": engine_version(),
        "clock": {"problem": sandbox.pop("clock", sandbox["problem"])},
        "images": {
            "problem": sandbox.pop("images", sandbox["problem"]),
            "registries": [one.host for one in images.registries],
            "layouts": list(images.layouts),
            "path": images.path,
            "max_size": images.max_size,
        },
        "missing": missing,
    }


def engine_version() -> str:
    """Of the WebAssembly engine; empty without one, which is no fault of the host."""
    from builder.sandbox.wasm import version

    return version()


def sentences(told: dict[str, Any]) -> list[str]:
    """The report for people."""
    host = Facts(**told["host"])
    sandbox = told["sandbox"]
    kernel = f"{KERNELS.get(host.os_family, 'kernel')} {host.kernel}"
    machine = f"{host.os_family}, {host.isa}, {kernel}, {host.cores} cores"
    lines = [
        f"host       {host.host}: {machine}, {format_size(host.memory_bytes)}",
        f"python     {host.python}",
        f"user       {'root' if told['user'] == 0 else 'an ordinary user'} (uid {told['user']})",
    ]
    if sandbox["works"]:
        lines.append(f"sandbox    works: {sandbox['backend']}")
        lines += wrapped("isolates", [g for g in sandbox["guarantees"] if "-cgroup" not in g])
        lines += limits_held(host.os_family, sandbox)
        lines += wrapped("images", image_sentences(told["images"]))
        problem = told["clock"]["problem"]
        lines.append(f"clock      {f'CANNOT STAND STILL: {problem}' if problem else STILL}")
    else:
        lines.append(f"sandbox    DOES NOT WORK: {sandbox['problem']}")
    engine = told["webassembly"]
    lines.append(f"wasm       {f'wasmtime {engine}' if engine else NO_ENGINE}")
    for obstacle in told["missing"]:
        lines += [f"missing    {obstacle['what']}", f"  enable:  {obstacle['command']}"]
    if not told["missing"]:
        lines.append("missing    nothing")
    return lines


def image_sentences(told: dict[str, Any]) -> list[str]:
    """Whether actions can run in container images here, and in which ones they may."""
    if told["problem"]:
        return [f"DO NOT WORK: {told['problem']}"]
    sources = [*told["registries"], *told["layouts"]]
    if not sources:
        return ["would work; sandbox.images lets none in"]
    kept = f"kept in {told['path']} up to {format_size(told['max_size'])}"
    return [f"work, of {sources[0]}", *sources[1:], kept]


def limits_held(os_family: str, sandbox: dict[str, Any]) -> list[str]:
    """What bears each limit. Only Linux has more than one way."""
    if os_family != "linux":
        return wrapped("limits", sandbox["limits"])
    lines = []
    for name, guarantee, instead in LIMITS:
        by = "control group" if guarantee in sandbox["guarantees"] else instead
        lines.append(f"limits     {name} by {by}")
    return [*lines, "limits     wall time, open files, file size and output always"]


def wrapped(label: str, names: list[str], width: int = 78) -> list[str]:
    """Names under one label, in lines."""
    lines: list[str] = []
    for name in names:
        if lines and len(lines[-1]) + len(name) + 2 <= width:
            lines[-1] += f", {name}"
        else:
            lines.append(f"{label:<10} {name}")
    return lines


@click.command
@config_option
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
@click.pass_context
def command(ctx: click.Context, config: str | None, as_json: bool) -> None:
    """Tell what this host can isolate and limit, and the command that enables what is missing.

    Runs one action in a real sandbox to see. Exit code 1 when no sandbox works here.
    """
    settings, _ = load_settings(config, {}, os.environ)
    told = report(settings.sandbox.images)
    click.echo(json.dumps(told) if as_json else "\n".join(sentences(told)))
    if not told["sandbox"]["works"]:
        ctx.exit(1)
