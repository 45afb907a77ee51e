"""An action that has the sandbox of another one sees nothing of it; and who leaves anything, or is
not of the same kind, shares with nobody."""

import os
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import trio

from builder.sandbox import kept, outcome, reset
from builder.sandbox.interface import (
    AuditLevel,
    Limits,
    Network,
    Outcome,
    Sandbox,
    SandboxRefusedError,
    SandboxSpec,
)
from builder.sandbox.native import NativeSandbox, open_sandbox
from tests.sandbox.support import READ_ONLY, Result, python, settled, shell

MIB = 1 << 20
FRESH = "fresh-sandbox"
TRACES = """
import contextlib, os, pty, resource, signal
for place in ('/tmp', '/dev/shm', '/builder/work'):
    os.makedirs(place + '/left/deep')
    open(place + '/left/deep/file', 'w').write('secret')
    os.link(place + '/left/deep/file', place + '/.hidden')
    os.symlink('/', place + '/link')
    os.mkfifo(place + '/pipe')
    os.chmod(place + '/left', 0)
    with contextlib.suppress(OSError):  # not every kernel has them there
        os.setxattr(place, 'user.left', b'secret')
    os.utime(place, (1, 2))
    os.chmod(place, 0o700)
pty.openpty()
with contextlib.suppress(OSError):
    os.chmod('/dev/pts', 0o700)
resource.setrlimit(resource.RLIMIT_NOFILE, (17, 17))
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
os.umask(0o077); os.chdir('/tmp'); os.nice(5)
os.environ['LEFT'] = 'secret'
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
memory = bytearray(48 << 20)
if os.fork() == 0:
    os._exit(0)
os.wait()
"""
LOOK = """
import ctypes, os, resource
for place in ('/tmp', '/dev/shm', '/dev/pts', '/dev', '/', '/builder', '/builder/work'):
    info, room = os.stat(place), os.statvfs(place)
    print(place, sorted(os.listdir(place)), oct(info.st_mode), info.st_nlink, os.listxattr(place))
    if place in ('/tmp', '/dev/shm'):
        print(room.f_files - room.f_ffree, room.f_blocks - room.f_bfree, room.f_flag)
        print(info.st_mtime_ns == info.st_ctime_ns, info.st_mtime > 1e9)
print(os.listdir('/dev/shm'), os.getcwd(), os.umask(0o022), os.nice(0), sorted(os.environ.items()))
print([resource.getrlimit(n) for n in range(16)], os.uname().nodename)
print([n for n in os.listdir('/proc') if n.isdigit()] == ['1', str(os.getpid())])
print([l.split()[3:6] + l.split()[-3:-2] for l in open('/proc/self/mountinfo')])
print(sorted(os.listdir('/proc/self/fd')), open('/proc/self/cgroup').read())
for line in open('/proc/self/status'):
    if line.split(':')[0] not in ('Pid', 'Tgid', 'NSpid', 'NSpgid', 'NSsid', 'NStgid', 'VmPeak',
            'VmSize', 'VmHWM', 'VmRSS', 'RssAnon', 'RssFile', 'VmData', 'VmStk', 'VmPTE',
            'voluntary_ctxt_switches', 'nonvoluntary_ctxt_switches'):
        print(line)
print(open('/proc/net/sockstat').readline())  # the rest is the host's
for name in ('net/snmp', 'net/snmp6', 'sysvipc/shm', 'sysvipc/sem', 'sysvipc/msg'):
    if os.path.exists('/proc/' + name):
        print(open('/proc/' + name).read())
print(ctypes.CDLL(None).msgget(0, 0o1600), ctypes.CDLL(None).shmget(0, 4096, 0o1600))
"""
QUEUE = """
import ctypes, os, sys
queue = ctypes.CDLL('libc.so.6', use_errno=True).mq_open
if sys.argv[1] == 'make':  # Landlock refuses to open what has been made then
    queue(b'/left', os.O_CREAT | os.O_RDWR, 0o600, None)
else:
    print(queue(b'/left', os.O_RDWR), os.strerror(ctypes.get_errno()))
"""
LEFT = {  # what is found afterwards, each of which ends a sandbox
    "a process": "import os, time\nif os.fork() == 0: os.setsid(); time.sleep(1000)",
    "an orphan that has ended": """
import os
if os.fork() == 0:
    if os.fork() == 0:
        while os.getppid() != 1: pass
        os.write(1, b'orphan')
        os._exit(0)
    os._exit(0)
os.wait()
while any(n.isdigit() and int(n) not in (1, os.getpid()) for n in os.listdir('/proc')): pass
""",
    "shared memory": "import ctypes\nassert ctypes.CDLL(None).shmget(7, 4096, 0o1600) >= 0",
    "a semaphore": "import ctypes\nassert ctypes.CDLL(None).semget(7, 1, 0o1600) >= 0",
    "a message": "import ctypes\nassert ctypes.CDLL(None).msgget(7, 0o1600) >= 0",
    "packets": """
import socket
a = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); a.bind(('127.0.0.1', 0))
a.sendto(b'x', a.getsockname())
""",
    "connections": """
import socket
a = socket.create_server(('127.0.0.1', 7777))
b = socket.create_connection(('127.0.0.1', 7777))
""",
    "a signal": "import os\nos.kill(os.getpid(), 11)",
    "the signal of limits": "import os\nos.kill(os.getpid(), 9)",
    "no processes to spare": """
import os
try:
    while True:
        if os.fork() == 0:
            import time; time.sleep(1000)
except OSError:
    os._exit(3)
""",
}
FEW = Limits(processes=24)


@pytest.fixture
async def trusting(some_descriptors: None) -> AsyncIterator[NativeSandbox]:
    async with open_sandbox(read_only=READ_ONLY, ready=1, reuse=True) as sandbox:
        assert isinstance(sandbox, NativeSandbox)
        yield sandbox


class Place:
    """New directories, one for each action."""

    def __init__(self, base: Path) -> None:
        self._base, self._number = base, 0

    def __next__(self) -> Path:
        self._number += 1
        place = self._base / f"a{self._number}"
        place.mkdir()
        return place

    def __iter__(self) -> Iterator[Path]:
        return self


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


async def look(sandbox: NativeSandbox, place: Place, **more: Any) -> Result:
    done = await python(sandbox, next(place), LOOK, **more)
    assert (done.err, done.exit.outcome) == ("", Outcome.EXITED)
    return done


async def true(sandbox: NativeSandbox, place: Place, **more: Any) -> int:
    """How many actions had its sandbox before it."""
    done = await shell(sandbox, next(place), "exit 0", **more)
    assert done.exit.outcome is Outcome.EXITED
    await settled(sandbox)
    return done.exit.usage.reused


async def test_the_next_sees_what_the_first_one_sees(trusting: NativeSandbox, place: Place) -> None:
    """Files, modes, times, attributes, mounts, processes, IPC, ports, limits, environment: all
    are what they are in a sandbox that nobody has had, whatever the one before has done."""
    fresh = await look(trusting, place)
    for number in range(2):
        first = await python(trusting, next(place), TRACES, reuse="ci")
        assert (first.err, first.exit.exit_code, first.exit.usage.reused) == ("", 0, number)
        await settled(trusting)
    second = await look(trusting, place, reuse="ci")
    assert second.exit.usage.reused == 2
    assert second.out == fresh.out
    assert second.tree == fresh.tree


async def test_the_result_says_so(trusting: NativeSandbox, place: Place) -> None:
    """How many had it before, what does not hold, and what is enforced; nothing for a first one."""
    assert await true(trusting, place, reuse="ci") == 0
    second = await shell(trusting, next(place), "exit 0", reuse="ci")
    await settled(trusting)
    alone = await shell(trusting, next(place), "exit 0")
    assert (second.exit.usage.reused, alone.exit.usage.reused) == (1, 0)
    assert set(alone.exit.guarantees) - set(second.exit.guarantees) == {FRESH}
    assert set(second.exit.limits) - set(alone.exit.limits) == {"sandbox=reused (trusted)"}


async def test_what_one_has_used_is_not_the_next_ones(
    trusting: NativeSandbox, place: Place
) -> None:
    """Memory and processors are its own; of processes nothing is told that is not known."""
    first = await python(trusting, next(place), TRACES, reuse="ci")
    await settled(trusting)
    second = await shell(trusting, next(place), "exit 0", reuse="ci")
    assert second.exit.usage.reused == 1
    assert first.exit.usage.peak_memory_bytes > 48 * MIB > second.exit.usage.peak_memory_bytes > 0
    assert second.exit.usage.processes in (0, 1)


async def test_whatever_is_left_ends_the_sandbox(trusting: NativeSandbox, place: Place) -> None:
    """Processes, IPC, packets, or an end that was not its own: nobody else gets that sandbox."""
    for what, script in LEFT.items():
        assert await true(trusting, place, reuse=what, limits=FEW) == 0
        left = await python(trusting, next(place), script, reuse=what, limits=FEW)
        assert "Error" not in left.err, what
        assert left.exit.usage.reused == 1, what
        await settled(trusting)
        assert await true(trusting, place, reuse=what, limits=FEW) == 0, what


async def test_message_queues_are_nobody_elses(trusting: NativeSandbox, place: Place) -> None:
    """One that the first action leaves ends the sandbox; later ones go with their namespaces."""
    for domain, uses in (("first", 0), ("later", 1)):
        for before in range(uses):
            assert await true(trusting, place, reuse=domain) == before
        left = await python(trusting, next(place), QUEUE, "make", reuse=domain)
        assert (left.err, left.exit.usage.reused) == ("", uses)
        await settled(trusting)
        found = await python(trusting, next(place), QUEUE, "find", reuse=domain)
        assert found.out == "-1 No such file or directory\n"
        assert found.exit.usage.reused == (0 if domain == "first" else 2)
        await settled(trusting)


async def test_who_is_ended_ends_the_sandbox(trusting: NativeSandbox, place: Place) -> None:
    """By its time, by nobody waiting for it, or because it never began."""
    wall = Limits(wall_s=0.1, grace_s=0)
    for name in ("late", "cancelled", "missing"):
        limits = wall if name == "late" else Limits()
        await true(trusting, place, reuse=name)
        assert await true(trusting, place, reuse=name) == 1
        if name == "cancelled":
            with trio.move_on_after(0.3):
                await shell(trusting, next(place), "sleep 1000", reuse=name)
        else:
            script = "sleep 1000" if name == "late" else "exec true"
            done = await shell(
                trusting,
                next(place),
                script,
                reuse=name,
                limits=limits,
                working_directory="nowhere" if name == "missing" else "",
            )
            expected = Outcome.TIMED_OUT if name == "late" else Outcome.NOT_STARTED
            assert (done.exit.outcome, done.exit.usage.reused) == (expected, 2)
        await settled(trusting)
        assert await true(trusting, place, reuse=name) == 0


async def test_memory_ends_the_sandbox(trusting: NativeSandbox, place: Place) -> None:
    """When there was not enough, and when too much is still counted for it."""
    if "memory-cgroup" not in trusting.guarantees:
        pytest.skip("nobody counts memory here")
    limits = Limits(memory_bytes=256 * MIB)
    hog = "bytearray(b'x') * (1 << 30)"
    for name, script, expected in (
        ("over", hog, Outcome.OUT_OF_MEMORY),
        ("kept", f"open('/builder/work/big', 'wb').write(bytes({64 * MIB}))", Outcome.EXITED),
    ):
        assert await true(trusting, place, reuse=name, limits=limits) == 0
        done = await python(trusting, next(place), script, reuse=name, limits=limits)
        assert (done.exit.outcome, done.exit.usage.reused) == (expected, 1)
        await settled(trusting)
        assert await true(trusting, place, reuse=name, limits=limits) == 0


@pytest.mark.slow
@pytest.mark.skipif(os.getuid() != 0, reason="once is enough: it counts")
async def test_a_sandbox_serves_its_time(trusting: NativeSandbox, place: Place) -> None:
    """As many actions as it may, and then there is another."""
    found = [await true(trusting, place, reuse="ci") for _ in range(reset.MOST_USES + 1)]
    assert found == [*range(reset.MOST_USES), 0]


async def test_nobody_shares_without_being_trusted_twice(
    sandbox: Sandbox, trusting: NativeSandbox, place: Place
) -> None:
    """By who has opened the sandbox, and by the action itself."""
    assert isinstance(sandbox, NativeSandbox)
    assert [await true(sandbox, place, reuse="ci") for _ in range(2)] == [0, 0]
    assert [await true(trusting, place) for _ in range(2)] == [0, 0]


async def test_only_the_same_kind_shares(trusting: NativeSandbox, place: Place) -> None:
    """Another domain, other limits, or more than a plain action: a sandbox of its own."""
    assert [await true(trusting, place, reuse="ci") for _ in range(2)] == [0, 1]
    others: list[dict[str, Any]] = [
        {"reuse": "other"},
        {"reuse": "ci", "limits": Limits(processes=100)},
        {"reuse": "ci", "limits": Limits(open_files=100)},
        {"reuse": "ci", "limits": Limits(cpu_cores=0.5)},
        {"reuse": "ci", "limits": Limits(memory_bytes=100 * MIB)},
        {"reuse": "ci", "deterministic": True},
        {"reuse": "ci", "network": Network.FULL},
        {"reuse": "ci", "network": Network.HOSTS, "hosts": ("example.org",)},
        {"reuse": "ci", "audit": AuditLevel.FULL},
        {"reuse": "ci", "required": frozenset({FRESH})},
        {},
    ]
    for more in others:
        assert await true(trusting, place, **more) == 0, more


async def test_many_at_once_share_one_after_the_other(
    trusting: NativeSandbox, place: Place
) -> None:
    """Each result is its own, whoever had the sandbox before."""
    found: list[tuple[str, str]] = []

    async def one(number: int) -> None:
        script = f"ls /tmp /builder/work; echo {number} >/tmp/n; echo {number}"
        done = await shell(trusting, next(place), script, reuse="ci")
        found.append((str(number), re.sub(r"\s+", " ", done.out)))

    for _ in range(3):
        async with trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(one, number)
    assert {out for _, out in found} == {f"/builder/work: /tmp: {n} " for n in range(8)}
    assert all(out.endswith(f": {number} ") for number, out in found)


async def test_a_required_fresh_sandbox_is_no_refusal(sandbox: Sandbox, tmp_path: Path) -> None:
    """Every host can give one, so it can be required; what nobody has is refused."""
    done = await shell(sandbox, tmp_path, "exit 0", required=frozenset({FRESH}))
    assert FRESH in done.exit.guarantees
    with pytest.raises(SandboxRefusedError):
        await shell(sandbox, tmp_path, "exit 0", required=frozenset({"fresh-air"}))


def test_whose_sandbox_it_may_have() -> None:
    """That of its domain; that of nobody when it is to be alone."""
    spec = SandboxSpec(("true",), "/in", "/scratch", reuse="ci")
    assert outcome.domain(spec) == "ci"
    for alone in (
        replace(spec, reuse=""),
        replace(spec, network=Network.FULL),
        replace(spec, audit=AuditLevel.CHEAP),
        replace(spec, programs=("sh",)),
        replace(spec, deterministic=True),
        replace(spec, required=frozenset({FRESH})),
    ):
        assert outcome.domain(alone) == ""


def test_what_two_must_have_in_common() -> None:
    """Everything that a sandbox has for good."""
    wish = outcome.wish(SandboxSpec(("true",), "/in", "/scratch", reuse="ci"))
    wish["rlimits"] = [(7, 100)]
    kind = kept.kind_of(wish)
    assert kind is not None
    assert kind == kept.kind_of(wish | {"inputs": "/other"})
    assert kept.kind_of(wish | {"reuse": ""}) is None
    for other in ("reuse", "network", "memory", "processes", "cores"):
        assert kept.kind_of(wish | {other: "x"}) != kind
    assert kept.kind_of(wish | {"rlimits": [(7, 101)]}) != kind


def test_how_much_memory_may_be_counted_still() -> None:
    """A bound for all, and a share of what the next one may have."""
    assert kept.bearable(kept.LEFT_BYTES, None)
    assert not kept.bearable(kept.LEFT_BYTES + 1, None)
    assert kept.bearable(8 * MIB, 64 * MIB)
    assert not kept.bearable(8 * MIB + 1, 64 * MIB)


def test_counters_begin_again_where_they_can(tmp_path: Path) -> None:
    """By a write; what takes none, or none from here, is known not to be the next one's."""
    counted = {"peak_memory_bytes": "4096\n", "processes": "5\n", "oom_kills": "oom_kill 0\n"}
    for name, text in counted.items():
        (tmp_path / name).write_text(text)

    def begun(flags: int) -> dict[str, int]:
        fds = [os.open(tmp_path / name, flags) for name in counted]
        try:
            own = [0, 1, 0]
            return reset.begin_again(list(zip(counted, own, fds, strict=True)))
        finally:
            for fd in fds:
                os.close(fd)

    assert begun(os.O_RDONLY) == {"peak_memory_bytes": 4096, "processes": 5}
    assert begun(os.O_RDWR) == {"processes": 5}
    assert (tmp_path / "peak_memory_bytes").read_text().startswith("0")
    (tmp_path / "processes").write_text("2\n")
    assert begun(os.O_RDWR) == {}


def test_the_oldest_of_too_many_go() -> None:
    """Only those that have served somebody, and only beyond so many."""
    many = [Waits(("ci",), float(number)) for number in range(5)]
    fresh = Waits(None, -1.0)
    assert kept.surplus([*reversed(many), fresh], 2) == [many[0]]
    assert kept.surplus(many, 3) == []


@dataclass
class Waits:
    kind: kept.Kind | None
    since: float
