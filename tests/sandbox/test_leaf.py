"""Control groups serve one sandbox after the other, and none of them can tell."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.host.cgroups import V1, V2, Place
from builder.sandbox.interface import Limits, Outcome
from builder.sandbox.kernel.leaf import COUNTERS, LEFT_BYTES, Leaf, Spare
from builder.sandbox.native import open_sandbox
from tests.sandbox.leftovers import groups
from tests.sandbox.support import READ_ONLY, act, python

MIB = 1 << 20
MOST = 300
FILES = {
    "tasks": "",
    "cgroup.procs": "",
    "pids.current": "0\n",
    "pids.peak": "2\n",
    "pids.max": "max\n",
    "pids.events": "max 0\n",
    "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n",
    "memory.events": "low 0\nhigh 0\nmax 7\noom 0\noom_kill 0\noom_group_kill 0\n",
    "memory.usage_in_bytes": "4096\n",
    "memory.current": "4096\n",
    "memory.max_usage_in_bytes": "9999999\n",
    "memory.peak": "9999999\n",
    "memory.limit_in_bytes": "",
    "memory.memsw.limit_in_bytes": "",
    "memory.oom.group": "",
    "memory.max": "",
    "memory.swap.max": "",
    "cpu.max": "",
    "cpu.stat": "usage_usec 50\nuser_usec 30\nsystem_usec 20\n",
}
CONTROLLERS = {V1: ("memory", "pids"), V2: ("memory", "pids", "cpu")}


@pytest.fixture(params=[V1, V2])
def leaf(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Leaf]:
    """A group of files that are what the kernel's are in a group that one process has been in."""
    real = os.mkdir

    def mkdir(path: str, mode: int) -> None:
        real(path, mode)
        for name, content in FILES.items():
            (Path(path) / name).write_text(content)

    version: int = request.param
    names = [(name, kind, files[version - 1]) for name, kind, files in COUNTERS]
    monkeypatch.setattr(os, "mkdir", mkdir)
    made = Leaf(Place(version, str(tmp_path), CONTROLLERS[version]), 7, names, 2)
    monkeypatch.setattr(os, "mkdir", real)
    yield made
    for name in FILES:
        (Path(made.path) / name).unlink()
    made.remove(0)


def test_who_left_nothing_leaves_a_group_as_new(leaf: Leaf) -> None:
    """Peak memory counts from there on, and so does processor time."""
    assert (leaf.is_left(0), leaf.renew()) == (True, True)
    peak = "memory.max_usage_in_bytes" if leaf.tree.version == V1 else "memory.peak"
    assert (Path(leaf.path) / peak).read_text().startswith("0")
    if leaf.counts_time:
        assert leaf.spent_us() == (0, 0)


@pytest.mark.parametrize(
    ("told", "content"),
    [
        (("pids.peak", "pids.peak"), "3\n"),
        (("pids.events", "pids.events"), "max 1\n"),
        (("memory.oom_control", "memory.events"), "oom 1\noom_kill 1\n"),
        (("memory.usage_in_bytes", "memory.current"), f"{LEFT_BYTES + 1}\n"),
    ],
)
def test_who_has_a_trace_in_a_group_is_the_last_in_it(
    leaf: Leaf, told: tuple[str, str], content: str
) -> None:
    """More processes than one, a refusal, a kill, or much memory that is charged still."""
    (Path(leaf.path) / told[leaf.tree.version - 1]).write_text(content)
    assert not leaf.renew()


def test_nobody_may_be_in_it(leaf: Leaf) -> None:
    """Not even one that ends just now, for longer than anybody waits."""
    (Path(leaf.path) / "pids.current").write_text("1\n")
    assert not leaf.is_left(0.01)


def test_one_that_waits_to_be_removed_holds_nothing(leaf: Leaf) -> None:
    """Where many wait, they hold no descriptors."""
    held = [leaf.entrance, *leaf.counters.values()]
    assert all(os.path.exists(f"/proc/self/fd/{fd}") for fd in held)
    before = len(os.listdir("/proc/self/fd"))
    leaf.close()
    leaf.close()
    assert len(os.listdir("/proc/self/fd")) == before - len(held) - 2


def test_limits_are_lifted(leaf: Leaf) -> None:
    """Of memory; a group that has limited processors is not used again."""
    leaf.limit_memory(64 * MIB)
    assert leaf.renew()
    place = Path(leaf.path)
    if leaf.tree.version == V1:
        limits = [place / "memory.limit_in_bytes", place / "memory.memsw.limit_in_bytes"]
        assert all(limit.read_text().startswith("-1") for limit in limits)
    else:
        limits = [place / "memory.max", place / "memory.swap.max"]
        assert all(limit.read_text().startswith("max") for limit in limits)
        assert (place / "memory.oom.group").read_text() == "0"
        leaf.limit_cores(0.5)
        assert not leaf.renew()


async def test_groups_are_used_again_and_nobody_can_tell(tmp_path: Path) -> None:
    """One whose actions had limits serves others, with their own limits and counts."""

    def place() -> Path:
        made = tmp_path / str(len(list(tmp_path.iterdir())))
        made.mkdir()
        return made

    async with open_sandbox(read_only=READ_ONLY, ready=1) as sandbox:
        if not {"memory-cgroup", "processes-cgroup"} <= set(sandbox.guarantees):
            pytest.skip("nobody counts memory and processes here")
        bounded = Limits(memory_bytes=64 * MIB, processes=40)
        for number in range(1, MOST):
            done = await act(sandbox, place(), "/bin/true", limits=bounded)
            assert (done.exit.outcome, done.exit.usage.processes) == (Outcome.EXITED, 1)
            used = numbers(groups(sandbox.broker_pid))  # type: ignore[attr-defined]  # native's own
            if number >= 8 and max(used) < number:  # the first is ready before the first action
                break
        else:
            pytest.fail(f"after {number} actions there are the groups {sorted(used)}")
        hog = (
            "import os; data = bytearray(100 << 20)\nfor _ in range(50):\n os.fork() or os._exit(0)"
        )
        for _ in range(2):
            done = await python(sandbox, place(), hog)
            assert (done.exit.outcome, done.exit.exit_code) == (Outcome.EXITED, 0), done.err
            assert done.exit.usage.processes > 40
            done = await act(sandbox, place(), "/bin/true")
            assert done.exit.usage.processes == 1
            assert done.exit.usage.peak_memory_bytes < 64 * MIB
            done = await python(sandbox, place(), "bytearray(100 << 20)", limits=bounded)
            assert done.exit.outcome is Outcome.OUT_OF_MEMORY


def numbers(brokers: set[str]) -> set[int]:
    """Of the leaves below these groups."""
    return {int(name) for path in brokers for name in os.listdir(path) if name.isdigit()}


def test_no_more_are_kept_than_may_be(leaf: Leaf) -> None:
    """The last one of a crowd goes."""
    spare = Spare(1)
    assert [spare.keep(leaf), spare.keep(leaf)] == [True, False]
    assert [spare.take(leaf.tree), spare.take(leaf.tree)] == [leaf, None]
