"""From a spec to what the helpers are told, and from what they report to an Exit. Pure."""

import os
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from builder.base.errors import InvalidArgumentError
from builder.base.moments import FIRST
from builder.sandbox import canonical, proxy, report, wallclock
from builder.sandbox.interface import (
    Audit,
    AuditLevel,
    Dialogue,
    Exit,
    Limits,
    Network,
    Outcome,
    SandboxSpec,
    Usage,
)

# What many programs ask for in place of the clock, the place and the dice, unless it is given.
ALIKE = {
    "LC_ALL": "C.UTF-8",
    "PYTHONHASHSEED": "0",
    "SOURCE_DATE_EPOCH": str(FIRST),
    "TZ": "UTC",
}
SIGNAL_BASE = 128
TOLD = 5
GREEDY = "it used up the watches of epoll that its user may have (fs.epoll.max_user_watches)"
SIGKILL, SIGXFSZ = 9, 25
STEPS = (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10))

FRESH_SANDBOX = "fresh-sandbox"
ALWAYS = (
    "user-namespace",
    "mount-namespace",
    "pid-namespace",
    "ipc-namespace",
    "uts-namespace",
    "cgroup-namespace",
    "read-only-system",
    "read-only-inputs",
    "private-tmp",
    "masked-proc",
    "unprivileged-user",
    "no-capabilities",
    "no-new-privileges",
    "seccomp",
    "fresh-process",  # nothing of an earlier action is in the program's memory
    FRESH_SANDBOX,  # nor has there been one in its namespaces and control groups
)
NETWORK = {
    Network.NONE: ("network-namespace",),
    Network.HOSTS: ("network-hosts",),
    Network.FULL: (),
}
BY_FEATURE = {
    "landlock": "landlock",
    "memory": "memory-cgroup",
    "pids": "processes-cgroup",
    "cpu": "cpu-cgroup",
}


def size(size_bytes: int) -> str:
    """Exact: `2GiB`, `64MiB`, `1000`."""
    for unit, step in STEPS:
        if size_bytes and size_bytes % step == 0:
            return f"{size_bytes // step}{unit}"
    return str(size_bytes)


@lru_cache(maxsize=64)
def guarantees(features: tuple[str, ...], network: Network) -> tuple[str, ...]:
    """What holds for an action on a host with these cgroup controllers, and perhaps Landlock."""
    isolated = (*ALWAYS, *NETWORK[network])
    return (*isolated, *(name for key, name in BY_FEATURE.items() if key in features))


def relative(path: str, what: str) -> bytes:
    """A path below the work tree. Raises InvalidArgumentError."""
    parts = path.split("/")
    if path.startswith("/") or ".." in parts or "\0" in path:
        raise InvalidArgumentError(
            f"{what} {path!r} leaves the work tree; give a relative path without '..'"
        )
    return os.fsencode(path)


def wish(spec: SandboxSpec) -> dict[str, Any]:
    """What the broker sets up. Raises InvalidArgumentError."""
    limits = spec.limits
    for name, value in (
        ("memory", limits.memory_bytes),
        ("processes", limits.processes),
        ("cpu", limits.cpu_cores),
        ("cpu time", limits.cpu_s),
    ):
        if value is not None and value <= 0:
            raise InvalidArgumentError(f"the {name} limit is {value}; it must be positive")
    return {
        "inputs": os.path.abspath(spec.input_root),
        "scratch": os.path.abspath(spec.scratch),
        "network": (Network.FULL if spec.network is Network.FULL else Network.NONE).value,
        "memory": limits.memory_bytes,
        "processes": with_supervisor(spec),
        "cores": limits.cpu_cores,
        "open_files": limits.open_files,
        "file_bytes": limits.file_bytes,
        "disk_bytes": limits.disk_bytes,
        "disk_files": limits.disk_files,
        "audit": spec.audit.value if spec.audit is not None else "",
        "deterministic": spec.deterministic,
        "supervised": supervised(spec),
        "shared": spec.dialogue is not None,
        "reuse": domain(spec),
        "backstop_s": None if limits.wall_s is None else limits.wall_s + limits.grace_s,
    }


def with_supervisor(spec: SandboxSpec) -> int | None:
    """How many processes there may be: a supervisor is none of the action's own."""
    own = spec.limits.processes
    return own + 1 if own is not None and supervised(spec) else own


def supervised(spec: SandboxSpec) -> bool:
    """Whether some of its calls are told to a supervisor."""
    return spec.deterministic or bool(spec.programs) or spec.audit is AuditLevel.FULL


def domain(spec: SandboxSpec) -> str:
    """Whose sandbox it may have, and leave its own to; empty for one that is to be alone in it."""
    special = (
        spec.network is not Network.NONE or spec.audit is not None or spec.dialogue is not None
    )
    special = special or spec.inputs_as_root or spec.clock is not None
    alone = special or supervised(spec) or FRESH_SANDBOX in spec.required
    return "" if alone else spec.reuse


def job(spec: SandboxSpec) -> dict[str, Any]:
    """What the sandbox's init runs. Raises InvalidArgumentError."""
    if not spec.argv or not spec.argv[0]:
        raise InvalidArgumentError("the command has no program: argv must not be empty")
    argv = [os.fsencode(argument) for argument in spec.argv]
    through = proxy.environment() if spec.network is Network.HOSTS else {}
    alike = ALIKE if spec.deterministic else {}
    environment = {**alike, **through, **spec.environment}
    if spec.clock is not None:
        environment.setdefault(wallclock.EPOCH, str(spec.clock))
        environment[wallclock.PRELOAD] = wallclock.preloaded(spec.environment)
    pairs = [(os.fsencode(k), os.fsencode(v)) for k, v in sorted(environment.items())]
    if any(b"\0" in part for part in argv) or any(b"\0" in k + v for k, v in pairs):
        raise InvalidArgumentError("the command or its environment holds a NUL byte")
    for key, _ in pairs:
        if not key or b"=" in key:
            raise InvalidArgumentError(f"{key!r} cannot name an environment variable")
    return {
        "argv": argv,
        "environment": pairs,
        "directory": relative(spec.working_directory, "working directory"),
        "parents": [relative(path, "output directory") for path in spec.output_parents],
        "wall_s": spec.limits.wall_s,
        "cpu_s": spec.limits.cpu_s,
        "grace_s": spec.limits.grace_s,
        "output_bytes": spec.limits.output_bytes,
        "audit": spec.audit is AuditLevel.FULL,
        "same_layout": spec.deterministic,
        "sorted": spec.deterministic,
        "programs": [os.fsencode(path) for path in spec.programs],
        "preload": None,
        "proxy": proxy.PORT if spec.network is Network.HOSTS else 0,
        "dialogue": None if spec.dialogue is None else pipes(spec.dialogue),
    }


def pipes(dialogue: Dialogue) -> tuple[bytes, bytes]:
    """Where its stdin and stdout stand. Raises InvalidArgumentError."""
    return relative(dialogue.stdin, "pipe"), relative(dialogue.stdout, "pipe")


def facts(told: report.Report | None, more: dict[str, Any] | None) -> dict[str, Any]:
    """What is known of an action: from its init's report, and from the broker where that had a
    hand in its end."""
    found: dict[str, Any] = {
        "report": told,
        "oom_kills": 0,
        "overdue": False,
        "disk_full": False,
        "greedy": False,
        "usage": {},
        "overlay": 0,
        "setup_us": 0,
        "reused": 0,
    }
    if told is not None:
        found |= {
            "oom_kills": told.oom_kills,
            "usage": {"peak_memory_bytes": told.peak_memory_bytes, "processes": told.processes},
            "overlay": told.overlay,
            "setup_us": told.setup_us,
            "reused": told.reused,
        }
    return found | (more or {})


def seconds(value: float) -> str:
    return f"{value:g}s"


@lru_cache(maxsize=256)
def limit_sentences(limits: Limits, enforced: frozenset[tuple[str, str]]) -> tuple[str, ...]:
    """Each limit that was enforced, with what enforced it. Most actions of a host have the same."""
    told = dict(enforced)
    by = {name: told.get(name, "") for name in ("memory", "processes", "cpu", "disk")}
    if by["memory"] == "rlimit":
        by["memory"] += " for each process"
    rows: tuple[tuple[str, Any, Callable[[Any], str], str], ...] = (
        ("memory", limits.memory_bytes, size, by["memory"]),
        ("processes", limits.processes, str, by["processes"]),
        ("cpu", limits.cpu_cores, "{:g}".format, by["cpu"]),
        ("wall", limits.wall_s, seconds, "timer"),
        ("cpu-time", limits.cpu_s, seconds, "accounting"),
        ("open-files", limits.open_files, str, "rlimit"),
        ("file", limits.file_bytes, size, "rlimit"),
        ("disk", limits.disk_bytes, size, by["disk"]),
        ("disk-files", limits.disk_files, str, by["disk"]),
        ("processors", told.get("processors"), str, "affinity"),
        ("programs", told.get("programs"), str, "landlock"),
        ("directories", told.get("directories"), str, "supervisor"),
        ("wall-clock", told.get("wall-clock"), str, "preload"),
        ("sandbox", told.get("sandbox"), str, "trusted"),
        ("output", limits.output_bytes, size, "pipe"),
    )
    found = [(name, said(value), how) for name, value, said, how in rows if value is not None]
    return tuple(f"{name}={said} ({how})" for name, said, how in found if how)


def usage(told: report.Report | None, facts: dict[str, Any]) -> Usage:
    """The runner's own count where it came to report, the broker's otherwise."""
    counted = facts["usage"]
    if told is None:
        user_us, system_us = counted.get("user_us", 0), counted.get("system_us", 0)
        return Usage(
            wall_s=counted.get("wall_us", 0) / 1e6,
            user_s=user_us / 1e6,
            system_s=system_us / 1e6,
            peak_memory_bytes=counted.get("peak_memory_bytes", 0),
            processes=counted.get("processes", 0),
            setup_s=facts["setup_us"] / 1e6,
            reused=facts.get("reused", 0),
        )
    return Usage(
        wall_s=told.wall_us / 1e6,
        user_s=told.user_us / 1e6,
        system_s=told.system_us / 1e6,
        peak_memory_bytes=counted.get("peak_memory_bytes") or told.max_rss_kib * 1024,
        processes=counted.get("processes", 0),
        setup_s=facts["setup_us"] / 1e6,
        inputs_s=told.inputs_us / 1e6,
        cleanup_s=told.sweep_us / 1e6,
        read_bytes=told.read_bytes,
        written_bytes=told.written_bytes,
        reused=told.reused,
    )


def ending(
    told: report.Report | None, facts: dict[str, Any], limits: Limits
) -> tuple[Outcome, int, int, str]:
    """(outcome, exit code, signal, message). Memory comes first: it explains all the others."""
    code, signal = SIGNAL_BASE + SIGKILL, SIGKILL
    if told is not None:
        killed = told.status == report.SIGNALLED
        signal = told.code if killed else 0
        code = SIGNAL_BASE + told.code if killed else told.code
    if facts["oom_kills"]:
        limit = "all memory" if limits.memory_bytes is None else size(limits.memory_bytes)
        return Outcome.OUT_OF_MEMORY, code, signal, f"out of memory: it used more than {limit}"
    if facts["disk_full"]:
        return Outcome.DISK_FULL, code, signal, disk_sentence(limits)
    if facts["greedy"]:
        return Outcome.TOO_MANY_WATCHES, code, signal, GREEDY
    if facts["overdue"] or (told is not None and told.timed_out):
        return Outcome.TIMED_OUT, code, signal, f"timed out after {limits.wall_s:g} s"
    if told is None:
        return Outcome.SIGNALLED, code, signal, "the sandbox was killed from outside"
    outcome, message = by_itself(told, code, limits)
    return outcome, code, signal if outcome is not Outcome.NOT_STARTED else 0, message


def by_itself(told: report.Report, code: int, limits: Limits) -> tuple[Outcome, str]:
    """How it ended when nobody but its own processes and limits had a hand in that."""
    if told.cpu_over:
        return Outcome.CPU_TIME, f"cpu time: it used more than {limits.cpu_s:g} s of it"
    if code and told.refused_processes:
        least = f"it may have {limits.processes} at a time"
        return Outcome.TOO_MANY_PROCESSES, f"too many processes: {least}"
    if code == SIGNAL_BASE + SIGXFSZ and limits.file_bytes is not None:
        largest = f"none may be larger than {size(limits.file_bytes)}"
        return Outcome.FILE_TOO_LARGE, f"file too large: {largest}"
    if told.status == report.NOT_STARTED:
        return Outcome.NOT_STARTED, f"could not be started: {told.message}"
    if told.status == report.SIGNALLED:
        return Outcome.SIGNALLED, f"killed by signal {told.code}"
    return Outcome.EXITED, ""


def disk_sentence(limits: Limits) -> str:
    allowed = []
    if limits.disk_bytes is not None:
        allowed.append(size(limits.disk_bytes))
    if limits.disk_files is not None:
        allowed.append(f"{limits.disk_files} files")
    return f"disk full: it wrote more than {' or '.join(allowed)}"


def cut_sentences(told: report.Report | None, limits: Limits) -> list[str]:
    """What was not kept of the output."""
    if told is None:
        return []
    found = [
        f"{name} was cut after {limits.output_bytes} of {total} bytes"
        for name, total in (("stdout", told.stdout_bytes), ("stderr", told.stderr_bytes))
        if total > limits.output_bytes
    ]
    if told.output_errno:
        found.append(f"output was lost: {os.strerror(told.output_errno)}")
    return found


def refused_sentence(told: report.Report | None) -> list[str]:
    """Which programs it was to execute, and may not."""
    if told is None or told.status == report.NOT_STARTED or not told.message:
        return []
    return [f"it may not execute {told.message}"]


def blocked_sentence(blocked: tuple[str, ...]) -> list[str]:
    """Which hosts were asked for in vain; the first ones, as it is for people."""
    more = f" and {len(blocked) - TOLD} more" if len(blocked) > TOLD else ""
    return [f"the network refused {', '.join(blocked[:TOLD])}{more}"] if blocked else []


def conclude(
    spec: SandboxSpec,
    facts: dict[str, Any],
    backend: str,
    held: tuple[str, ...],
    audit: Audit | None = None,
    blocked: tuple[str, ...] = (),
) -> Exit:
    """The Exit of an action from what the broker tells of it."""
    told, enforced = facts["report"], facts["enforced"]
    if facts.get("reused"):
        held = tuple(name for name in held if name != FRESH_SANDBOX)
        enforced = enforced | {"sandbox": "reused"}
    outcome, code, signal, message = ending(told, facts, spec.limits)
    cut = cut_sentences(told, spec.limits)
    more = (*refused_sentence(told), *blocked_sentence(blocked))
    if cut and outcome in (Outcome.EXITED, Outcome.SIGNALLED) and not told.output_errno:
        outcome = Outcome.OUTPUT_TOO_LARGE
    return Exit(
        outcome=outcome,
        exit_code=code,
        stdout=f"{spec.scratch}/stdout",
        stderr=f"{spec.scratch}/stderr",
        backend=backend,
        guarantees=held,
        limits=limit_sentences(spec.limits, frozenset(enforced.items())),
        usage=usage(told, facts),
        message="; ".join(one for one in (message, *cut, *more) if one),
        signal=signal,
        audit=audit,
        blocked=blocked,
        spec=facts.get("spec") or canonical.digest(spec),
        output_cut=bool(cut),
    )
