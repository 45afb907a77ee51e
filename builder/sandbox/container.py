"""Actions in containers of crun, runc or podman: for those who must; nobody else needs it.

Each action is a container of its own, made and removed by the runtime: an order of magnitude slower
than the native sandbox, with a copy of the inputs, and with less: no audit, no images, no quota, no
allow-list of hosts, no Landlock. What holds is told by its guarantees, and what it has nothing for
is refused. The time that it tells is the runtime's with it.
"""

import contextlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import trio

from builder.base.errors import UsageError
from builder.sandbox import bundle, outcome, plan, podman
from builder.sandbox.child import kill_group, not_found, run_child
from builder.sandbox.copied import FinishedInCopy, copy_inputs
from builder.sandbox.interface import (
    Network,
    SandboxError,
    SandboxRefusedError,
    SandboxSpec,
)
from builder.sandbox.kernel.syscalls import MACHINE
from builder.sandbox.limits import DEFAULT_OPEN_FILES
from builder.sandbox.native import checked_root
from builder.sandbox.options import Options, refuse_missing
from builder.sandbox.weak import processes_of

PODMAN = "podman"
ALWAYS = (
    *("mount-namespace", "pid-namespace", "ipc-namespace", "uts-namespace"),
    *("read-only-system", "read-only-inputs", "private-tmp", "masked-proc", "unprivileged-user"),
    *("no-capabilities", "no-new-privileges", "seccomp", "fresh-process"),
)
GROUPS = ("memory-cgroup", "processes-cgroup", "cpu-cgroup")
PATIENCE_S = 60.0
AGAIN_S = 0.1
DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"
PROBE_BYTES = 64 << 20
GROUPS_AT = "/sys/fs/cgroup"
FILTER = "seccomp.json"
LOGGED = re.compile(r'msg="(.*)"')


class ContainerSandbox:
    """See `interface.Sandbox`. Make it by `open_containers`. `state` is where the runtime keeps
    what it knows of its containers."""

    def __init__(self, options: Options, name: str, program: str, state: str) -> None:
        self.backend = name
        self.guarantees: tuple[str, ...] = ()
        self.problem = ""
        self._program, self._state = program, state
        self._base = checked_root(options.root)
        self._root = plan.template(options.read_only, self._base)
        self._is_root = os.getuid() == 0
        # an ordinary user is what the runtimes insist on, root of a user namespace of one user
        self._uid = options.action_uid if self._is_root else 0
        self._keeps = name != PODMAN and "--keep" in self._ask("run", "--help").stdout
        self._groups, self._in_group = False, False  # by which it limits; or that it is in at all
        self._number = 0

    async def probe(self, place: str) -> None:
        """Run one container, with limits if that is possible. Raises SandboxError."""
        said = ""
        limited = bundle.resources(PROBE_BYTES, 64, 1.0)
        # podman as an ordinary user: runc wants a group though it limits nothing, crun can do
        # without one where that user may make none
        ways = [(limited, True), *([({}, True)] if self.backend == PODMAN else []), ({}, False)]
        for number, (limits, self._in_group) in enumerate(ways):
            directory = os.path.join(place, f"try-{number}")
            os.makedirs(os.path.join(directory, "work"))
            spec = SandboxSpec(("/bin/true",), "", directory)
            async with self._container(spec, os.path.join(directory, "work"), limits) as (_, argv):
                done = await trio.to_thread.run_sync(self._probe, argv)
            # podman goes on without limits that it cannot set, and says so
            if done.returncode == 0 and not (limits and done.stderr.strip()):
                self._groups = bool(limits)
                self.problem = f"it gives no control groups ({said})" if said else ""
                self.guarantees = self._held(Network.NONE)
                return
            said = reason_in(done.stderr)
        raise SandboxError(f"the sandbox cannot start: {self.backend}: {said}")

    def _probe(self, argv: list[str]) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE_S, check=False)

    def _held(self, network: Network) -> tuple[str, ...]:
        user = () if self._is_root else ("user-namespace",)
        alone = ("network-namespace",) if network is Network.NONE else ()
        return (*ALWAYS, *user, *alone, *(GROUPS if self._groups else ()))

    async def run(self, spec: SandboxSpec) -> FinishedInCopy:
        """See `interface.Sandbox.run`."""
        job = outcome.job(spec)  # raises for what is wrong with the command
        held = self._held(spec.network)
        refuse_missing(spec, held, [self.problem or f"{self.backend} has nothing for it"])
        refuse(spec)
        started = trio.current_time()
        tree = await copy_inputs(spec, self._uid if self._is_root else None)
        enforced, limits = self._limits(spec)
        facts: dict[str, Any] = {"enforced": enforced, "usage": {}}
        environment = {os.fsdecode(k): os.fsdecode(v) for k, v in job["environment"]}
        if self._found(spec.argv[0], environment, os.path.join(tree, spec.working_directory)):
            async with self._container(spec, tree, limits, environment) as (name, argv):
                facts["setup_us"] = int((trio.current_time() - started) * 1e6)
                kill = partial(self._kill, name)
                report = await run_child(argv, os.environ, "/", spec, kill)
                facts |= await trio.to_thread.run_sync(self._counted, name)
        else:
            report, facts["setup_us"] = not_found(spec), 0
        done = outcome.conclude(spec, outcome.facts(report, facts), self.backend, held)
        return FinishedInCopy(done, tree)

    def _limits(self, spec: SandboxSpec) -> tuple[dict[str, str], dict[str, Any]]:
        """(what enforces each, those of its control groups). Raises SandboxRefusedError."""
        asked = spec.limits
        wanted = {
            "memory": asked.memory_bytes,
            "processes": asked.processes,
            "cpu": asked.cpu_cores,
        }
        by = {name: "cgroup" for name, value in wanted.items() if value is not None}
        if self._groups:
            found = bundle.resources(asked.memory_bytes, asked.processes, asked.cpu_cores)
            return by, found
        by = {name: "rlimit" for name in by if name != "cpu"}
        return by, {}

    def _rlimits(self, spec: SandboxSpec) -> dict[str, int]:
        limits = spec.limits
        found = {"CORE": 1, "NOFILE": limits.open_files or DEFAULT_OPEN_FILES}
        if limits.file_bytes is not None:
            found["FSIZE"] = limits.file_bytes
        if not self._groups and limits.memory_bytes is not None:
            found["DATA"] = limits.memory_bytes
        if (most := resource.getrlimit(resource.RLIMIT_NPROC)[1]) >= 0:
            found["NPROC"] = most // 4  # podman would ask for more than it may have itself
        if not self._groups and limits.processes is not None:
            found["NPROC"] = limits.processes + processes_of(os.getuid() or self._uid)
        return found if self._is_root else {name: at_most(name, found[name]) for name in found}

    @contextlib.asynccontextmanager
    async def _container(
        self,
        spec: SandboxSpec,
        tree: str,
        limits: dict[str, Any],
        environment: dict[str, str] | None = None,
    ) -> AsyncIterator[tuple[str, list[str]]]:
        """Its name, and the command that runs it. It is gone afterwards."""
        self._number += 1
        name = f"builder-{os.getpid()}-{self._number}"
        directory = os.path.join(spec.scratch, "bundle")
        found = bundle.config(
            argv=spec.argv,
            environment={"PATH": DEFAULT_PATH} | (environment or {}),
            directory=os.path.join(plan.WORK_TREE, spec.working_directory).rstrip("/"),
            root=self._root,
            work_tree=tree,
            uid=self._uid,
            outside_uid=None if self._is_root else os.getuid(),
            own_network=spec.network is Network.NONE,
            rlimits=self._rlimits(spec),
            limits=limits,
            machine=MACHINE,
        )
        if self._in_group:
            found["linux"]["cgroupsPath"] = f"/{name}"
        await trio.to_thread.run_sync(self._lay_out, directory, found)
        try:
            yield name, self._begin(name, directory, found)
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(self._end, name)

    def _begin(self, name: str, directory: str, config: dict[str, Any]) -> list[str]:
        if self.backend == PODMAN:
            limited = "cgroupsPath" in config["linux"]
            rootfs, filtered = os.path.join(directory, "rootfs"), os.path.join(directory, FILTER)
            said = podman.options(config, rootfs, filtered, limited)
            return [self._program, "run", "--name", name, *said]
        keep = ["--keep"] if self._keeps else []
        return [*self.command("run"), *keep, "--bundle", directory, name]

    def _end(self, name: str) -> None:
        """It, and whatever runs in it; of one that has gone nobody complains."""
        remove = (
            ("rm", "--force", "--time", "0") if self.backend == PODMAN else ("delete", "--force")
        )
        self._ask(*remove, name)

    def _lay_out(self, directory: str, found: dict[str, Any]) -> None:
        os.makedirs(os.path.join(directory, "rootfs"))
        bundle.lay_out(self._root, os.path.join(directory, "rootfs"), self._uid)
        with open(os.path.join(directory, "config.json"), "x", encoding="utf-8") as file:
            json.dump(found, file)
        with open(os.path.join(directory, FILTER), "x", encoding="utf-8") as file:
            json.dump(found["linux"]["seccomp"], file)

    def command(self, *words: str) -> list[str]:
        state = [] if self.backend == PODMAN else ["--root", self._state]
        return [self._program, *state, *words]

    def _ask(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self.command(*words), capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )

    async def _kill(self, name: str, pid: int, number: int) -> None:
        """The runtime hands signals on; killed itself, it would leave the container behind, or
        while it makes one what it has begun: so it ends by the end of its container. Podman dies
        of any signal as long as it makes one."""
        if number == signal.SIGKILL:
            with contextlib.suppress(ProcessLookupError):
                await self._end_with(os.pidfd_open(pid), name)
        elif self.backend == PODMAN:
            say = partial(self._ask, "kill", "--signal", str(int(number)), name)
            await trio.to_thread.run_sync(say)
            return
        kill_group(pid, number)

    async def _end_with(self, runtime: int, name: str) -> None:
        try:
            with trio.move_on_after(PATIENCE_S):
                while True:
                    await trio.to_thread.run_sync(self._end, name)
                    with trio.move_on_after(AGAIN_S):  # it may not have been there yet
                        await trio.lowlevel.wait_readable(runtime)
                        return
        finally:
            trio.lowlevel.notify_closing(runtime)
            os.close(runtime)

    def _counted(self, name: str) -> dict[str, Any]:
        """What the control groups say of a container that has ended and is kept."""
        if self.backend == PODMAN:
            told = self._ask("inspect", "--format", "{{.State.OOMKilled}}", name).stdout
            return {"oom_kills": int(told.strip() == "true")}
        if not (self._groups and self._keeps):
            return {}
        kills = keyed(name, "memory", ("memory.oom_control", "memory.events"), "oom_kill")
        peak = whole(name, "memory", ("memory.max_usage_in_bytes", "memory.peak"))
        return {"oom_kills": kills, "usage": {"peak_memory_bytes": peak}}

    def _found(self, program: str, environment: dict[str, str], directory: str) -> bool:
        """Whether there is such a program, as execvp(3) looks for it, in what is shown."""
        if program.startswith("/"):
            return os.access(self._base + program, os.X_OK)
        if "/" in program:
            return os.access(os.path.join(directory, program), os.X_OK)
        places = environment.get("PATH", DEFAULT_PATH).split(":")
        path = ":".join(self._base + one if one.startswith("/") else one for one in places)
        return shutil.which(program, path=path) is not None


def at_most(name: str, wanted: int) -> int:
    """What an ordinary user's container can have: no more than that user."""
    most = resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))[1]
    return wanted if most == resource.RLIM_INFINITY else min(wanted, most)


def reason_in(stderr: str) -> str:
    """The last thing that a runtime has said, without the time and the level of it."""
    line = (stderr.strip().splitlines() or ["it said nothing"])[-1]
    found = LOGGED.search(line)
    return found[1] if found else line


def keyed(name: str, controller: str, files: tuple[str, str], key: str) -> int:
    """One number of a control group's file; its names are those of version 1 and of version 2."""
    lines = (line.split() for line in read_group(name, controller, files).splitlines())
    return next((int(words[1]) for words in lines if words[:1] == [key]), 0)


def whole(name: str, controller: str, files: tuple[str, str]) -> int:
    text = read_group(name, controller, files).strip()
    return int(text) if text.isdigit() else 0


def read_group(name: str, controller: str, files: tuple[str, str]) -> str:
    for path in (f"{GROUPS_AT}/{controller}/{name}/{files[0]}", f"{GROUPS_AT}/{name}/{files[1]}"):
        with contextlib.suppress(OSError), open(path, encoding="ascii") as file:
            return file.read()
    return ""


def refuse(spec: SandboxSpec) -> None:
    """Raises SandboxRefusedError for what a container cannot have here."""
    disk = (spec.limits.disk_bytes, spec.limits.disk_files)
    cannot = {
        "be audited": spec.audit is not None,
        "see an image": spec.layers != (),
        "see its inputs as its root": spec.inputs_as_root,
        "be kept to some programs": spec.programs != (),
        "be kept to some hosts": spec.network is Network.HOSTS,
        "be made deterministic": spec.deterministic,
        "have a fixed wall clock": spec.clock is not None,
        "stay and be spoken to": spec.dialogue is not None,
        "be kept from filling the disk": disk != (None, None),
        "be kept from using the processors": spec.limits.cpu_s is not None,
    }
    for what, asked in cannot.items():
        if asked:
            raise SandboxRefusedError(
                f"in a container of `sandbox.runtime` an action cannot {what}; `native` can"
            )


@contextlib.asynccontextmanager
async def open_containers(options: Options, name: str) -> AsyncIterator[ContainerSandbox]:
    """For as long as the context lasts. Raises UsageError, SandboxError."""
    program = shutil.which(name)
    if program is None:
        raise UsageError(f"sandbox.runtime: {name} is not installed, or not on the PATH")
    with tempfile.TemporaryDirectory(prefix="builder-containers-") as place:
        os.chmod(place, 0o711)  # noqa: S103 - to pass, not to look
        sandbox = ContainerSandbox(options, name, program, os.path.join(place, "state"))
        await sandbox.probe(place)
        yield sandbox
