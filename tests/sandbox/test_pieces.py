"""The parts that need no kernel: the filter, the plan, packets, reports, and how ends are told."""

import itertools
import os
import select
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from builder.sandbox import link, namespace, outcome, plan, report, stream
from builder.sandbox.interface import WORK_TREE, Limits, Network, Outcome, SandboxSpec
from builder.sandbox.kernel import seccomp
from builder.sandbox.kernel.groups import (
    belongs_to_the_dead,
    one_family,
    prefix_of,
    start_time,
)
from builder.sandbox.limits import Cpus, borne, without_groups

NATIVE = seccomp.AUDIT_ARCH
FILTERS = {machine: seccomp.program(machine) for machine in NATIVE}
WISH = {
    "memory": 1 << 20, "processes": 5, "cores": 1.5, "open_files": None, "file_bytes": None,
    "deterministic": False,
}  # fmt: skip


Program = list[tuple[int, int, int, int]]


def verdict(
    machine: str,
    number: int,
    *arguments: int,
    arch: int | None = None,
    program: Callable[[str], Program] = seccomp.program,
    code: Program | None = None,
) -> int:
    """What the filter answers: the instructions interpreted as the kernel does."""
    words = {0: number, 4: NATIVE[machine] if arch is None else arch}
    words |= {16 + 8 * i: value & 0xFFFFFFFF for i, value in enumerate(arguments)}
    words |= {20 + 8 * i: value >> 32 for i, value in enumerate(arguments)}
    code, at, accumulator = code or program(machine), 0, 0
    while True:
        kind, true, false, operand = code[at]
        at += 1
        if kind == seccomp.RETURN:
            return operand
        if kind == seccomp.LOAD:
            accumulator = words.get(operand, 0)
            continue
        if kind == seccomp.AND:
            accumulator &= operand
            continue
        taken = {
            seccomp.EQUAL: accumulator == operand,
            seccomp.AT_LEAST: accumulator >= operand,
            seccomp.ANY_BIT: bool(accumulator & operand),
        }[kind]
        at += true if taken else false


@pytest.mark.parametrize("machine", list(NATIVE))
def test_filter_refuses_exactly_what_it_lists(machine: str) -> None:
    """Every number from 0 to 500 is allowed, but for those that the tables name."""
    calls = seccomp.INSPECTED[machine]
    refused = {n for n in range(500) if verdict(machine, n) != seccomp.ALLOW}
    wanted = set(seccomp.DENIED[machine].values()) | {calls["clone3"]}
    wanted |= {*seccomp.FLUSHES[machine].values(), *seccomp.LACKING[machine].values()}
    assert refused == wanted | {calls["socket"], calls["socketpair"]}  # family 0 is none of ours


@pytest.mark.parametrize("call", ["socket", "socketpair"])
@pytest.mark.parametrize("machine", list(NATIVE))
def test_sockets_are_of_the_usual_families_and_protocols(machine: str, call: str) -> None:
    """For each of 50 families and 300 protocols: the kernel loads modules for those that it lacks,
    such as SCTP's, DCCP's and L2TP's."""
    number = seccomp.INSPECTED[machine][call]
    for family, protocol in itertools.product(range(50), range(300)):
        expected = seccomp.refuse(seccomp.EAFNOSUPPORT)
        if family in (1, 2, 10, 16):
            usual = {16: (0,), 1: range(300)}.get(family, (0, 1, 6, 17, 58, 136, 262))
            known = protocol in usual
            expected = seccomp.ALLOW if known else seccomp.refuse(seccomp.EPROTONOSUPPORT)
        assert verdict(machine, number, family, 2, protocol, code=FILTERS[machine]) == expected


@pytest.mark.parametrize("machine", list(NATIVE))
def test_sockets_are_of_the_usual_kinds(machine: str) -> None:
    """The kernel loads modules by the kind, too; local ones may be of any. Flags are no kind."""
    for call, family, kind in itertools.product(("socket", "socketpair"), (1, 2, 10), range(1, 16)):
        number = seccomp.INSPECTED[machine][call]
        usual = family == 1 or kind < 4
        expected = seccomp.ALLOW if usual else seccomp.refuse(seccomp.ESOCKTNOSUPPORT)
        for flags in (0, 0x80800):
            assert verdict(machine, number, family, kind | flags, code=FILTERS[machine]) == expected


@pytest.mark.parametrize("machine", list(NATIVE))
def test_the_limit_of_cores_stays(machine: str) -> None:
    """Nobody is told that it does; it can be read, and other limits can be set."""
    done, calls = seccomp.refuse(seccomp.DONE), seccomp.LIMITING[machine]
    assert verdict(machine, calls["setrlimit"], seccomp.CORE, 1 << 33) == done
    assert verdict(machine, calls["setrlimit"], 7, 1) == seccomp.ALLOW
    for address in (1, 1 << 33):
        assert verdict(machine, calls["prlimit64"], 0, seccomp.CORE, address) == done
        assert verdict(machine, calls["prlimit64"], 0, 7, address) == seccomp.ALLOW
        assert verdict(machine, calls["prlimit64"], 1, 7, address) == seccomp.refuse(seccomp.EPERM)
    assert verdict(machine, calls["prlimit64"], 0, seccomp.CORE, 0, 1) == seccomp.ALLOW


@pytest.mark.parametrize("machine", list(NATIVE))
def test_filter_looks_at_arguments(machine: str) -> None:
    """Namespaces, families, terminal injection and init's limits are refused by argument."""
    calls, guarded = seccomp.INSPECTED[machine], seccomp.GUARDED[machine]
    allow, refuse = seccomp.ALLOW, seccomp.refuse
    for number in seccomp.FLUSHES[machine].values():
        assert verdict(machine, number) == refuse(seccomp.DONE)
    assert verdict(machine, calls["clone"], 17) == allow
    assert verdict(machine, calls["clone"], 0x3D0F00) == allow  # a thread
    assert verdict(machine, calls["clone"], 0x10000000 | 17) == refuse(seccomp.EPERM)
    assert verdict(machine, calls["clone3"]) == refuse(seccomp.ENOSYS)
    assert verdict(machine, calls["ioctl"], 0, 0x5412) == refuse(seccomp.EPERM)
    assert verdict(machine, calls["ioctl"], 0, 0x541C) == refuse(seccomp.EPERM)
    assert verdict(machine, calls["ioctl"], 0, 0x5423) == refuse(seccomp.EPERM)
    for request in seccomp.LINKS:
        assert verdict(machine, calls["ioctl"], 0, request) == refuse(seccomp.EPERM)
    assert verdict(machine, calls["ioctl"], 0, 0x5401) == allow
    assert verdict(machine, calls["fcntl"], 0, 1024) == refuse(seccomp.EPERM)
    assert verdict(machine, calls["fcntl"], 0, 1030) == allow  # F_DUPFD_CLOEXEC
    assert verdict(machine, calls["setsockopt"], 0, 1, 60) == refuse(seccomp.ENOPROTOOPT)
    assert verdict(machine, calls["setsockopt"], 0, 1, 9) == allow  # SO_KEEPALIVE
    assert verdict(machine, calls["setsockopt"], 0, 6, 60) == allow  # of another level
    for number, everybody in seccomp.RANKED[machine].values():
        assert verdict(machine, number, 1, 1) == refuse(seccomp.EPERM)
        assert verdict(machine, number, everybody, 1000) == refuse(seccomp.EPERM)
        assert verdict(machine, number, 0, 0) == verdict(machine, number, 1, 7) == allow
    for number in guarded.values():
        assert verdict(machine, number, 1) == refuse(seccomp.EPERM)
        assert verdict(machine, number, 0) == verdict(machine, number, 2) == allow


def test_filter_kills_foreign_architectures() -> None:
    """A call in another architecture's numbering ends the process; x32 does not exist."""
    assert verdict("x86_64", 0, arch=0x40000003) == seccomp.KILL_PROCESS
    assert verdict("x86_64", 0x40000000) == seccomp.refuse(seccomp.ENOSYS)
    assert verdict("aarch64", 0, arch=NATIVE["x86_64"]) == seccomp.KILL_PROCESS


@pytest.mark.parametrize("machine", list(NATIVE))
def test_the_two_halves_make_the_whole(machine: str) -> None:
    """What the zygote's filter passes and a sandbox's own too is what the whole filter passes; a
    kernel takes the stricter answer. The zygote may do what makes a sandbox, and no more."""
    for number in range(500):
        for arguments in ((0, 0), (1, 0x5412), (40, 1), (0x10000000, 0)):
            whole = verdict(machine, number, *arguments)
            early = verdict(machine, number, *arguments, program=seccomp.while_making)
            late = verdict(machine, number, *arguments, program=seccomp.when_made)
            assert whole == (late if early == seccomp.ALLOW else early)
            if (early, whole) == (seccomp.ALLOW, seccomp.refuse(seccomp.EPERM)):
                names = {seccomp.DENIED[machine][name] for name in seccomp.MAKING}
                assert number in names


def test_filter_jumps_fit() -> None:
    """A jump is one byte."""
    for machine in NATIVE:
        assert all(0 <= t < 256 and 0 <= f < 256 for _, t, f, _ in seccomp.program(machine))
        assert len(seccomp.encoded(seccomp.program(machine))) == 8 * len(seccomp.program(machine))


def test_plan_is_plain_data() -> None:
    """A set-up is a list of tuples of strings that ends by sealing the root."""
    template = plan.template(("/usr",))
    assert all(isinstance(part, str) for op in template for part in op)
    assert template[-1] == ("seal", "/")
    assert ("directory", WORK_TREE) in template
    assert "/usr" in plan.sources(template)
    shown = {op[2] for op in template if op[0] == "system"}
    assert not shown & {"/etc", "/home", "/root", "/var", "/", "/proc", "/sys", "/dev"}
    assert "/etc/shadow" not in shown


def test_sandbox_plan_hides_the_kernel() -> None:
    """The /proc that its init mounts is masked, and temporary places are private."""
    operations = plan.sandbox()
    assert ("read-only", "/proc/sys") in operations
    assert {("tmpfs", "/tmp", "mode=1777"), ("tmpfs", "/dev/shm", "mode=1777")} <= set(operations)


def test_packets_carry_values_of_any_size() -> None:
    """Small values travel in the packet, large ones in memory, descriptors with both."""
    for value in ({"a": b"\xff"}, ["x" * 1000] * 3000):
        one, two = link.pair()
        read, write = os.pipe()
        link.send(one, value, (read,))
        got, fds = link.receive(two)
        assert got == value
        os.write(write, b"!")
        assert os.read(fds[0], 1) == b"!"
        assert not os.get_inheritable(fds[0])
        one.close()
        assert link.receive(two) == (None, [])
        two.close()
        for fd in (read, write, *fds):
            os.close(fd)


def told(**fields: Any) -> report.Report:
    made = report.Report()
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def test_reports_survive_packing() -> None:
    """Every field, and the message, come back."""
    made = told(status=report.SIGNALLED, code=9, wall_us=5, stderr_bytes=1 << 40, message="é")
    packed = made.pack()
    again = report.unpack(packed)
    assert (again.code, again.stderr_bytes, again.message) == (9, 1 << 40, "é")
    assert again.pack() == packed


SPEC = SandboxSpec(
    ("x",), "/in", "/scratch", limits=Limits(wall_s=2, memory_bytes=3 << 30, cpu_s=1, file_bytes=9)
)
FACTS: dict[str, Any] = {
    "oom_kills": 0, "overdue": False, "disk_full": False, "greedy": False, "usage": {},
    "setup_us": 0, "enforced": {"memory": "cgroup", "processes": "rlimit"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "facts", "wanted"),
    [
        ({}, {}, (Outcome.EXITED, 0, 0)),
        ({"code": 7}, {}, (Outcome.EXITED, 7, 0)),
        ({"status": report.SIGNALLED, "code": 11}, {}, (Outcome.SIGNALLED, 139, 11)),
        ({"status": report.NOT_STARTED, "code": 127}, {}, (Outcome.NOT_STARTED, 127, 0)),
        ({"timed_out": 1}, {}, (Outcome.TIMED_OUT, 0, 0)),
        ({"code": 0}, {"oom_kills": 1}, (Outcome.OUT_OF_MEMORY, 0, 0)),
        ({"code": 0}, {"disk_full": True}, (Outcome.DISK_FULL, 0, 0)),
        ({"code": 0}, {"greedy": True}, (Outcome.TOO_MANY_WATCHES, 0, 0)),
        ({"timed_out": 1}, {"oom_kills": 1}, (Outcome.OUT_OF_MEMORY, 0, 0)),
        ({"cpu_over": 1, "status": report.SIGNALLED, "code": 15}, {}, (Outcome.CPU_TIME, 143, 15)),
        ({"code": 2, "refused_processes": 3}, {}, (Outcome.TOO_MANY_PROCESSES, 2, 0)),
        ({"code": 0, "refused_processes": 3}, {}, (Outcome.EXITED, 0, 0)),
        ({"code": 153}, {}, (Outcome.FILE_TOO_LARGE, 153, 0)),
        ({"status": report.SIGNALLED, "code": 25}, {}, (Outcome.FILE_TOO_LARGE, 153, 25)),
        ({"code": 3, "stdout_bytes": 1 << 30}, {}, (Outcome.OUTPUT_TOO_LARGE, 3, 0)),
        ({"timed_out": 1, "stdout_bytes": 1 << 30}, {}, (Outcome.TIMED_OUT, 0, 0)),
        (None, {"overdue": True}, (Outcome.TIMED_OUT, 137, 9)),
        (None, {"oom_kills": 2}, (Outcome.OUT_OF_MEMORY, 137, 9)),
        (None, {}, (Outcome.SIGNALLED, 137, 9)),
    ],
)
def test_each_end_has_its_name(
    fields: dict[str, Any] | None, facts: dict[str, Any], wanted: tuple[Outcome, int, int]
) -> None:
    """What init and kernel tell becomes one outcome; memory explains all others."""
    made = None if fields is None else told(**fields)
    done = outcome.conclude(SPEC, FACTS | facts | {"report": made}, "b", ("g",))
    assert (done.outcome, done.exit_code, done.signal) == wanted
    assert done.limits[:2] == ("memory=3GiB (cgroup)", "processes=512 (rlimit)")


def test_guarantees_follow_the_host() -> None:
    """Control groups and the network are promised only where they are."""
    assert "memory-cgroup" in outcome.guarantees(("memory",), Network.NONE)
    assert "memory-cgroup" not in outcome.guarantees(("pids",), Network.NONE)
    assert "network-namespace" not in outcome.guarantees((), Network.FULL)


def test_limits_without_groups_are_the_processes_own() -> None:
    """Each limit goes to a group, an rlimit or an affinity, and is told as that."""
    every = borne(WISH, lambda _name: True, Cpus([0, 1, 2]))
    none = borne(WISH, lambda _name: False, Cpus([0, 1, 2]))
    assert set(every[0].values()) == {"cgroup"}
    assert none[0] == {"memory": "rlimit", "processes": "rlimit", "cpu": "affinity"}
    assert (every[2], none[2]) == ([], [0, 1])
    alike = borne(WISH | {"deterministic": True, "cores": None}, lambda _name: True, Cpus([0, 1]))
    assert (alike[0]["processors"], alike[2]) == ("1", [0])
    assert len(none[1]) == len(every[1]) + 2
    assert (6, 5 + 40 + 1) in without_groups(WISH, [0], 40)[1]  # RLIMIT_NPROC


def test_processors_are_taken_in_turn() -> None:
    """Actions that may use one of three processors share them out."""
    cpus = Cpus([4, 5, 6])
    assert [cpus.take(1) for _ in range(4)] == [[4], [5], [6], [4]]
    assert cpus.take(99) == [4, 5, 6]


def test_the_living_keep_their_groups() -> None:
    """Only groups of dead brokers of this PID namespace are removed."""
    ours = prefix_of(os.getpid()) + start_time(os.getpid())
    assert not belongs_to_the_dead(ours)
    assert belongs_to_the_dead(ours + "0")
    assert belongs_to_the_dead(prefix_of(2**22 + 1) + "5")
    for foreign in ("builder-1-2-3", "builder-605-1", "session-1.scope", "builder-"):
        assert not belongs_to_the_dead(foreign)


@pytest.mark.parametrize(
    ("members", "ours"),
    [([5], True), ([3, 5, 6], True), ([3, 4, 5, 6], True), ([5, 9], False), ([6, 5], False)],
)
def test_only_our_own_processes_are_moved(members: list[int], ours: bool) -> None:
    """A group is ours when one ancestor of the broker has begotten all that is in it."""
    parents = {5: 4, 4: 3, 3: 1, 6: 3, 9: 1}
    assert one_family(members, 5, lambda pid: parents.get(pid, 0)) == ours


def test_an_output_is_at_its_end_when_all_is_carried_and_nobody_writes(tmp_path: Path) -> None:
    """What poll(2) says of a pipe is enough to know that it need not be read again."""
    file = os.open(tmp_path / "kept", os.O_WRONLY | os.O_CREAT)
    discard = os.open("/dev/null", os.O_WRONLY)
    one = stream.Stream(discard)
    try:
        one.keep_in(file, 5)
        os.write(one.write_end, b"hello, all")
        one.heard(select.POLLIN)
        assert (one.total, one.ended) == (5, False)  # the rest is for the next look
        one.close_write_end()
        one.heard(select.POLLIN | select.POLLHUP)
        assert (one.total, one.ended) == (10, False)
        one.heard(select.POLLHUP)
        assert one.ended
        one.drain()  # reads no more
        assert (tmp_path / "kept").read_bytes() == b"hello"
    finally:
        for fd in (file, discard, one.read_end):
            os.close(fd)


@pytest.mark.parametrize(
    ("last", "children", "reaped", "alone"),
    [
        ("12", "14", "3", True),  # it has had no child, so these are not its own
        ("13", "", "0", True),  # its child has gone, and it has waited for that itself
        ("13", "", "3", False),  # the init had to
        ("13", "13", "0", False),  # it lives
        (None, "", "0", True),  # as on kernels that do not tell
        (None, "13", "0", False),
    ],
)
def test_who_is_left_is_known_by_the_last_born_or_by_the_init(
    tmp_path: Path, last: str | None, children: str, reaped: str, alone: bool
) -> None:
    """A program that nobody was born after has left nobody; else its init's files tell."""
    files = {"2/task/2/children": children, "2/stat": f"2 (init) S 1 1 1 0 -1 0 7 {reaped} 0"}
    if last is not None:
        files[namespace.LAST_BORN] = last
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    one = namespace.Namespace.__new__(namespace.Namespace)
    one.init, one._seen = 2, os.open(tmp_path, os.O_RDONLY)
    try:
        assert one.alone(12) is alone
    finally:
        os.close(one._seen)
