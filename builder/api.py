"""The public Python API: a service of one's own, and commands run in its sandboxes.

    from builder.api import SandboxSpec, Service

    spec = SandboxSpec.builder().input("src/**").output("build/app").max_memory("1GiB").build()
    with Service.builder().pool(minimum=2).build() as service:
        result = service.execute(["make", "-C", "src"], spec)
        print(result.exit_code, result.worker, service.get_metrics()["queue"])

Everything here is synchronous and may be called from any thread that runs no trio of its own.
`examples/python-api/` is a program that uses it.
"""

import contextlib
import dataclasses
import json
import math
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from builder.assembly.private_folder import private_folder
from builder.base.errors import BuilderError, InvalidArgumentError, UsageError
from builder.base.hosts import checked
from builder.base.moments import parse_moment
from builder.base.units import parse_duration, parse_size

READY_S = 60.0
STOP_S = 60.0
READY = "Remote execution service ready"
COORDINATOR = re.compile(r"Coordinator: (\S+)")
ANY_PORT = "127.0.0.1:0"
AUDIT_LEVELS = ("cheap", "full")
VARIABLE = re.compile(r"[^=\0]+")

__all__ = ["Result", "SandboxSpec", "SandboxSpecBuilder", "Service", "ServiceBuilder"]


def _texts(value: object) -> bool:
    return isinstance(value, tuple) and all(isinstance(one, str) for one in value)


def _variables(value: object) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(name, str) and isinstance(text, str) and VARIABLE.fullmatch(name) is not None
        for name, text in value.items()
    )


def _more_than_0(value: object) -> bool:
    return value is None or (
        isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf
    )


def _whole(value: object) -> bool:
    return value is None or (isinstance(value, int) and _more_than_0(value))


def _flag(value: object) -> bool:
    return isinstance(value, bool)


TEXTS = (_texts, "some texts")
FORMS: dict[str, tuple[Callable[[object], bool], str]] = {
    **dict.fromkeys(("inputs", "outputs", "programs"), TEXTS),
    "environment": (_variables, "texts by names of variables"),
    **dict.fromkeys(("max_cpu_cores", "timeout_s"), (_more_than_0, "more than 0")),
    **dict.fromkeys(("max_memory_bytes", "max_processes"), (_whole, "a whole number from 1")),
    **dict.fromkeys(("cache", "deterministic"), (_flag, "True or False")),
    "network": (lambda value: _flag(value) or _texts(value), "True, False or some hosts"),
    "audit": (lambda value: value in (None, *AUDIT_LEVELS), "cheap, full or None"),
    "clock": (lambda value: value is None or type(value) is int, "seconds since 1970"),
}


@dataclass(frozen=True, slots=True)
class SandboxSpec:
    """What a command sees and may use. Paths and globs are relative to the directory that
    `Service.execute` is given; an output that is a directory ends in '/'."""

    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    max_memory_bytes: int | None = None
    max_cpu_cores: float | None = None
    timeout_s: float | None = None
    network: bool | tuple[str, ...] = False
    cache: bool = True
    audit: str | None = None
    max_processes: int | None = None
    deterministic: bool = False
    programs: tuple[str, ...] = ()
    clock: int | None = None

    def __post_init__(self) -> None:
        """Raises UsageError, so that there is no spec that nothing could run."""
        for name, (holds, wanted) in FORMS.items():
            if not holds(getattr(self, name)):
                raise UsageError(f"{name}={getattr(self, name)!r}: it is to be {wanted}")

    @staticmethod
    def builder(preset: str = "hermetic") -> "SandboxSpecBuilder":
        """What is not said otherwise is as in the preset: 'hermetic' (no network), 'reproducible'
        (also deterministic, and audited in full), 'bounded' (also 2 GiB, one core, 256 processes
        and ten minutes) or 'networked' (the host's network; nothing is cached). Raises
        UsageError."""
        if preset not in PRESETS:
            raise UsageError(f"builder({preset!r}): use one of {', '.join(PRESETS)}")
        return SandboxSpecBuilder(PRESETS[preset])

    def to_json(self) -> str:
        """In one form: equal specs give equal text."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True, separators=(",", ":"))

    @staticmethod
    def from_json(text: str) -> "SandboxSpec":
        """What `to_json` has written. Raises UsageError for what it has not."""
        try:
            found = json.loads(text)
            lists = {key: tuple(value) for key, value in found.items() if isinstance(value, list)}
            return SandboxSpec(**found | lists)
        except (ValueError, TypeError, AttributeError) as error:
            raise UsageError(f"this is no SandboxSpec: {error}") from None


PRESETS = {
    "hermetic": SandboxSpec(),
    "reproducible": SandboxSpec(deterministic=True, audit="full"),
    "bounded": SandboxSpec(
        max_memory_bytes=2 << 30, max_cpu_cores=1.0, max_processes=256, timeout_s=600.0
    ),
    "networked": SandboxSpec(network=True, cache=False),
}


class SandboxSpecBuilder:
    """Each method returns the builder, so that calls can be chained."""

    def __init__(self, preset: SandboxSpec | None = None) -> None:
        self._spec = preset or SandboxSpec()

    def input(self, *patterns: str) -> "SandboxSpecBuilder":
        """Files that the command may read: paths, globs, and '!glob' for what to leave out."""
        return self._with(inputs=(*self._spec.inputs, *patterns))

    def output(self, *paths: str) -> "SandboxSpecBuilder":
        """What is brought back; parent directories exist before the command starts."""
        return self._with(outputs=(*self._spec.outputs, *paths))

    def temp(self, path: str = "/tmp") -> "SandboxSpecBuilder":  # noqa: S108  the sandbox's own
        """Says where temporary files go. Every action has a private /tmp that is thrown away, and
        so is all that it writes elsewhere and that is no output. Raises UsageError for others."""
        if path != "/tmp":  # noqa: S108  as above
            raise UsageError(
                f"temp({path!r}): temporary files go to /tmp; what is written in the work tree "
                "and is no output is thrown away too"
            )
        return self

    def env(self, name: str, value: str) -> "SandboxSpecBuilder":
        return self._with(environment={**self._spec.environment, name: value})

    def max_memory(self, size: str | int) -> "SandboxSpecBuilder":
        """Bytes, or a text such as '512MiB'. Raises UsageError."""
        return self._with(max_memory_bytes=parse_size(size))

    def max_cpu(self, cores: float) -> "SandboxSpecBuilder":
        return self._with(max_cpu_cores=float(cores))

    def timeout(self, duration: str | float) -> "SandboxSpecBuilder":
        """Seconds, or a text such as '5m'. Raises UsageError."""
        return self._with(timeout_s=parse_duration(duration))

    def max_processes(self, count: int) -> "SandboxSpecBuilder":
        """Processes and threads at a time."""
        if count < 1:
            raise UsageError(f"max_processes({count}): a command is one process at least")
        return self._with(max_processes=count)

    def enable_audit(self, level: str = "full") -> "SandboxSpecBuilder":
        """Have `Result.audit` tell which files the command uses, and which hosts it tries to reach,
        beyond what is declared here. 'cheap' sees what leaves traces. Raises UsageError."""
        if level not in AUDIT_LEVELS:
            raise UsageError(f"enable_audit({level!r}): use one of {', '.join(AUDIT_LEVELS)}")
        return self._with(audit=level)

    def network(self, allowed: bool = True) -> "SandboxSpecBuilder":
        return self._with(network=allowed)

    def hosts(self, *hosts: str) -> "SandboxSpecBuilder":
        """The network of these hosts only, by HTTP and HTTPS: 'pypi.org', '*.example.org:8443'.
        Raises UsageError."""
        try:
            return self._with(network=checked(hosts))
        except InvalidArgumentError as error:
            raise UsageError(str(error)) from None

    def deterministic(self) -> "SandboxSpecBuilder":
        """Make the same what differs between two runs, where it can be: the time that programs
        ask SOURCE_DATE_EPOCH for, zone, locale, addresses, the order of directories and the number
        of processors. `clock` is apart."""
        return self._with(deterministic=True)

    def clock(self, moment: str | int = "fixed") -> "SandboxSpecBuilder":
        """Have the wall clock stand still for programs that ask the C library, as nearly all do:
        at a moment such as '2024-05-01T12:00:00Z', at seconds since 1970, or, 'fixed', at the first
        one of 1980. SOURCE_DATE_EPOCH is the same. Raises UsageError."""
        return self._with(clock=parse_moment(moment))

    def programs(self, *programs: str) -> "SandboxSpecBuilder":
        """Which alone the command may execute: names on its PATH, paths, and directories whose
        programs all count. Raises UsageError."""
        if wrong := [one for one in programs if not one or "," in one]:
            raise UsageError(f"programs({wrong[0]!r}): give names and paths, without commas")
        return self._with(programs=(*self._spec.programs, *programs))

    def cache(self, allowed: bool = True) -> "SandboxSpecBuilder":
        """Whether the result may be stored, and a stored one used."""
        return self._with(cache=allowed)

    def build(self) -> SandboxSpec:
        return self._spec

    def _with(self, **changes: Any) -> "SandboxSpecBuilder":
        self._spec = dataclasses.replace(self._spec, **changes)
        return self


@dataclass(frozen=True, slots=True)
class Result:
    """How an execution went. `outputs` are paths that were brought back; `reason` says what went
    wrong, and is empty when `exit_code` is 0. `exit_code` is None when nothing was run. `audit` has
    a line for each use beyond the declaration, behind one with their sum, if it was enabled."""

    exit_code: int | None
    stdout: bytes
    stderr: bytes
    outputs: tuple[str, ...] = ()
    worker: str = ""
    cached: bool = False
    reason: str = ""
    audit: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return self.exit_code == 0


class ServiceBuilder:
    """What a service is made of. Each method returns the builder."""

    def __init__(self) -> None:
        self._settings: dict[str, Any] = {
            "role": "all",
            "coordinator": {"listen": ANY_PORT},
            "reapi": {"listen": ANY_PORT},
            "pool": {"min": 1, "max": 1, "autoscale": False},
        }
        self._metrics = False

    def coordinator(self, address: str) -> "ServiceBuilder":
        """Where it listens, HOST:PORT; without it a free port of loopback."""
        self._settings["coordinator"] = {"listen": address}
        return self

    def pool(self, minimum: int = 1, maximum: int | None = None) -> "ServiceBuilder":
        """Workers on this machine; with a larger maximum they follow the load."""
        most = minimum if maximum is None else maximum
        self._settings["pool"] = {"min": minimum, "max": most, "autoscale": most > minimum}
        return self

    def executor(self, slots: int) -> "ServiceBuilder":
        """How many actions a worker runs at once."""
        self._settings["worker"] = {**self._settings.get("worker", {}), "slots": slots}
        return self

    def enable_reapi(self, address: str = ANY_PORT) -> "ServiceBuilder":
        """The Remote Execution API on an address of its own; the coordinator's serves it too."""
        self._settings["reapi"] = {"listen": address}
        return self

    def enable_metrics(self, address: str) -> "ServiceBuilder":
        """Prometheus' format and the dashboard over HTTP; `get_metrics` works without it."""
        self._settings["metrics"] = {"listen": address}
        self._metrics = True
        return self

    def store(self, path: str | Path) -> "ServiceBuilder":
        """Where blobs and results are kept; without it in a temporary directory."""
        self._settings["store"] = {"path": str(path)}
        return self

    def build(self) -> "Service":
        """Start it, and wait until it is ready. Raises BuilderError when it does not start."""
        settings = dict(self._settings)
        if not self._metrics:
            settings["metrics"] = {"listen": ANY_PORT}
        return Service(settings)


class Service:
    """A running service: coordinator, storage and workers as processes of their own."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._left = contextlib.ExitStack()
        folder = Path(self._left.enter_context(private_folder()))
        settings = {
            "store": {"path": str(folder / "store")},
            "artifacts": {"listen": ANY_PORT},
            "logging": {"format": "human"},  # it is read here
            **settings,
        }
        worker = {"scratch": str(folder / "worker"), **settings.get("worker", {})}
        config = folder / "builder.yaml"
        config.write_text(json.dumps({**settings, "worker": worker}))
        packages = os.pathsep.join(map(os.path.abspath, sys.path))  # "" is where we are
        program = [sys.executable, "-m", "builder"]
        self._process = subprocess.Popen(
            [*program, "--config", str(config), "serve", "--exit-with-stdin"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": packages},
            stdin=subprocess.PIPE,  # whose end tells it that we are no more
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._lines: list[str] = []
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._ready.wait(READY_S)
        if not any(READY in line for line in self._lines):
            said = "\n".join(self._lines[-10:])
            self.stop()
            raise BuilderError(f"the service did not start; it said:\n{said}")

    @staticmethod
    def builder() -> ServiceBuilder:
        return ServiceBuilder()

    @property
    def address(self) -> str:
        """The coordinator's HOST:PORT, for `--remote=` and for other clients."""
        found = COORDINATOR.search("\n".join(self._lines))
        assert found  # it stands above the line that says that it is ready
        return found[1]

    def execute(
        self, command: Sequence[str], spec: SandboxSpec | None = None, directory: str | Path = "."
    ) -> Result:
        """Run a command on a worker with the files of `directory` that the spec names, and bring
        its outputs back there. Raises UsageError for inputs that are not there, BuilderError when
        the service cannot be reached."""
        from builder.assembly.single import execute  # late: it is all of the client

        return Result(
            *execute(self.address, tuple(command), spec or SandboxSpec(), Path(directory))
        )

    def get_metrics(self) -> dict[str, Any]:
        """Workers, queue, pool, executions and storage, as `builder remote status --json`."""
        from builder.assembly.single import status

        found: dict[str, Any] = json.loads(status(self.address))
        return found

    def stop(self) -> None:
        """Drain it and end it, with all that it started. It may be called again."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(1.0)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        self._left.close()

    def __enter__(self) -> "Service":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.append(line.rstrip("\n"))
            del self._lines[:-1000]
            if READY in line:
                self._ready.set()
        self._ready.set()
