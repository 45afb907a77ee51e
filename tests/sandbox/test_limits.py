"""Limits: each one reached, named for what it was, and told who enforced it."""

import errno
from pathlib import Path

import pytest

from builder.sandbox.interface import Limits, Outcome, Sandbox
from tests.sandbox.support import act, python, shell

MIB = 1 << 20
HOG = "data = bytearray(200 << 20); print('fits')"


def by_group(sandbox: Sandbox, controller: str) -> bool:
    return f"{controller}-cgroup" in sandbox.guarantees


async def test_memory_hog_is_out_of_memory(sandbox: Sandbox, tmp_path: Path) -> None:
    """A program over its memory limit ends, and where groups count, as an outcome of its own."""
    done = await python(sandbox, tmp_path, HOG, limits=Limits(memory_bytes=64 * MIB))
    assert "fits" not in done.out
    if by_group(sandbox, "memory"):
        assert done.exit.outcome is Outcome.OUT_OF_MEMORY
        assert "memory=64MiB (cgroup)" in done.exit.limits
        assert "64MiB" in done.exit.message
        assert done.exit.usage.wall_s > 0
    else:
        assert (done.exit.outcome, "MemoryError" in done.err) == (Outcome.EXITED, True)
        assert "memory=64MiB (rlimit for each process)" in done.exit.limits


async def test_hog_below_a_shell_is_out_of_memory(sandbox: Sandbox, tmp_path: Path) -> None:
    """A grandchild's death for memory is told, and ends the action, though the shell goes on."""
    if not by_group(sandbox, "memory"):
        pytest.skip("this user has no memory group: the limit is each process's own")
    script = f"echo before; /usr/bin/python3 -I -S -c '{HOG}'; echo rc $?; sleep 60; exit 0"
    done = await shell(
        sandbox, tmp_path, script.replace("'fits'", '"fits"'), limits=Limits(memory_bytes=64 * MIB)
    )
    assert done.exit.outcome is Outcome.OUT_OF_MEMORY
    assert done.out.startswith("before\n")
    assert done.exit.usage.wall_s < 30


async def test_temporary_files_count_as_memory(sandbox: Sandbox, tmp_path: Path) -> None:
    """/tmp and /dev/shm are memory, and limited as such."""
    script = "for d in /tmp /dev/shm; do head -c 200M /dev/zero > $d/x; stat -c %s $d/x; done"
    done = await shell(sandbox, tmp_path, script, limits=Limits(memory_bytes=64 * MIB))
    if by_group(sandbox, "memory"):
        assert done.exit.outcome is Outcome.OUT_OF_MEMORY
    else:  # nothing counts them together: each is as large as the limit
        assert done.out.split() == [str(64 * MIB)] * 2
        assert done.err.count("No space left on device") == 2


async def test_page_cache_is_no_reason_to_die(sandbox: Sandbox, tmp_path: Path) -> None:
    """Files in the work tree may be larger than the memory limit."""
    script = "head -c 100M /dev/zero > big && rm big && echo fine"
    done = await shell(sandbox, tmp_path, script, limits=Limits(memory_bytes=64 * MIB))
    assert done.out == "fine\n", done


async def test_neighbour_does_not_notice(sandbox: Sandbox, tmp_path: Path) -> None:
    """After an action ran out of memory the next one has all of its own."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    await python(sandbox, tmp_path / "a", HOG, limits=Limits(memory_bytes=64 * MIB))
    done = await python(sandbox, tmp_path / "b", HOG, limits=Limits(memory_bytes=400 * MIB))
    assert done.out == "fits\n"


async def test_too_many_processes_are_refused_to_it(sandbox: Sandbox, tmp_path: Path) -> None:
    """The number of processes is bounded; the one too many is EAGAIN to whoever forks."""
    script = (
        "import os, time\nn = 0\ntry:\n"
        "  while n < 100:\n    if os.fork() == 0: time.sleep(60)\n    n += 1\n"
        "except OSError as e: print(n, e.errno)\n"
    )
    done = await python(sandbox, tmp_path, script, limits=Limits(processes=20))
    assert done.out == f"19 {errno.EAGAIN}\n"
    by = "cgroup" if by_group(sandbox, "processes") else "rlimit"
    assert f"processes=20 ({by})" in done.exit.limits


async def test_too_many_processes_are_named(sandbox: Sandbox, tmp_path: Path) -> None:
    """A program that fails for want of processes is told so."""
    script = "import os, time\nwhile True:\n  if os.fork() == 0: time.sleep(600)\n"
    done = await python(sandbox, tmp_path, script, limits=Limits(processes=20))
    assert (done.exit.outcome, done.exit.exit_code) == (Outcome.TOO_MANY_PROCESSES, 1)


async def test_a_failure_alone_is_not_too_many(sandbox: Sandbox, tmp_path: Path) -> None:
    """Who fails with fewer processes than it may have, fails for a reason of its own."""
    done = await shell(sandbox, tmp_path, "sleep 60 & exit 3", limits=Limits(processes=20))
    assert (done.exit.outcome, done.exit.exit_code) == (Outcome.EXITED, 3)


SPIN = "while True: pass"
SPIN_BELOW = "import os\nfor _ in range(3):\n  if os.fork() == 0: break\nwhile True: pass"
SPIN_IN_TURN = (
    "import os, time\nwhile True:\n"
    "  if os.fork() == 0:\n    end = time.process_time() + 0.05\n"
    "    while time.process_time() < end: pass\n    os._exit(0)\n  os.wait()"
)


@pytest.mark.parametrize("script", [SPIN, SPIN_BELOW, SPIN_IN_TURN])
async def test_cpu_time_is_bounded(sandbox: Sandbox, tmp_path: Path, script: str) -> None:
    """The time of all processes together, living and gone; an idle program has all it needs."""
    done = await python(sandbox, tmp_path, script, limits=Limits(cpu_s=0.4, grace_s=1))
    assert done.exit.outcome is Outcome.CPU_TIME, done.exit
    assert done.exit.usage.user_s + done.exit.usage.system_s > 0.35
    assert "cpu-time=0.4s (accounting)" in done.exit.limits
    (tmp_path / "idle").mkdir()
    idle = await shell(sandbox, tmp_path / "idle", "sleep 1", limits=Limits(cpu_s=0.8))
    assert idle.exit.outcome is Outcome.EXITED


async def test_cpu_time_ends_who_ignores_it(sandbox: Sandbox, tmp_path: Path) -> None:
    """After the grace there is no choice."""
    script = "trap '' TERM; while true; do :; done"
    done = await shell(sandbox, tmp_path, script, limits=Limits(cpu_s=0.1, grace_s=0.1))
    assert (done.exit.outcome, done.exit.signal) == (Outcome.CPU_TIME, 9)


@pytest.mark.parametrize("script", ["exec head -c 3M /dev/zero > f", "head -c 3M /dev/zero > f"])
async def test_file_too_large_is_named(sandbox: Sandbox, tmp_path: Path, script: str) -> None:
    """The program that wrote it is killed for it, and a shell above it passes that on."""
    done = await shell(sandbox, tmp_path, script, limits=Limits(file_bytes=1 * MIB))
    assert (done.exit.outcome, done.exit.exit_code) == (Outcome.FILE_TOO_LARGE, 153)
    assert len(done.tree["f"]) == MIB


async def test_threads_are_processes_too(sandbox: Sandbox, tmp_path: Path) -> None:
    """Threads count against the same bound."""
    script = (
        "import _thread, time\nn = 0\ntry:\n  while n < 100:\n"
        "    _thread.start_new_thread(time.sleep, (60,))\n    n += 1\n"
        "except RuntimeError: print(n)\nimport os; os.write(1, b'%d' % n); os._exit(0)\n"
    )
    done = await python(sandbox, tmp_path, script, limits=Limits(processes=20))
    assert done.out.splitlines()[0].startswith("19")


async def test_cpu_is_bounded(sandbox: Sandbox, tmp_path: Path) -> None:
    """Half a core takes a spinning program twice as long."""
    script = "import time\nwhile time.process_time() < 0.5: pass"
    done = await python(sandbox, tmp_path, script, limits=Limits(cpu_cores=0.5))
    if by_group(sandbox, "cpu"):
        assert "cpu=0.5 (cgroup)" in done.exit.limits
        assert done.exit.usage.wall_s > 0.75
    else:
        assert "cpu=0.5 (affinity)" in done.exit.limits


async def test_cpu_count_without_groups(sandbox: Sandbox, tmp_path: Path) -> None:
    """Where no group limits processors, the action sees only as many as it may use, and can take
    no more."""
    script = """if True:
        import os
        try:
            os.sched_setaffinity(0, range(1024))
        except PermissionError:
            print("refused")
        print(len(os.sched_getaffinity(0)))"""
    done = await python(sandbox, tmp_path, script, limits=Limits(cpu_cores=1))
    if not by_group(sandbox, "cpu"):
        assert done.out == "refused\n1\n"


async def test_output_flood_is_cut(sandbox: Sandbox, tmp_path: Path) -> None:
    """Output beyond the bound is dropped and said; the program runs to its end."""
    script = "head -c 3000000 /dev/zero; head -c 2000 /dev/zero >&2; echo end > end"
    done = await shell(sandbox, tmp_path, script, limits=Limits(output_bytes=1000))
    assert (len(done.out), len(done.err), done.tree) == (1000, 1000, {"end": b"end\n"})
    assert (done.exit.outcome, done.exit.exit_code) == (Outcome.OUTPUT_TOO_LARGE, 0)
    assert "stdout was cut after 1000 of 3000000 bytes" in done.exit.message
    assert "stderr was cut after 1000 of 2000 bytes" in done.exit.message


async def test_output_at_the_bound_is_whole(sandbox: Sandbox, tmp_path: Path) -> None:
    """Exactly as much as allowed is not too much."""
    limits = Limits(output_bytes=200_000)
    done = await shell(sandbox, tmp_path, "head -c 200000 /dev/zero", limits=limits)
    assert (len(done.out), done.exit.message) == (200_000, "")


async def test_file_size_and_open_files_are_bounded(sandbox: Sandbox, tmp_path: Path) -> None:
    """A file too large and a descriptor too many fail inside the program."""
    script = (
        "import os, signal, errno\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "try: open('f', 'wb').write(bytes(3000000))\nexcept OSError as e: print(e.errno)\n"
        "fds = []\ntry:\n  while len(fds) < 100: fds.append(os.dup(0))\n"
        "except OSError as e: print(e.errno)\n"
    )
    limits = Limits(file_bytes=1 * MIB, open_files=40)
    done = await python(sandbox, tmp_path, script, limits=limits)
    assert done.out == f"{errno.EFBIG}\n{errno.EMFILE}\n"
    assert {"file=1MiB (rlimit)", "open-files=40 (rlimit)"} <= set(done.exit.limits)


async def test_no_core_files(sandbox: Sandbox, tmp_path: Path) -> None:
    """A crash leaves nothing in the work tree."""
    done = await shell(sandbox, tmp_path, "kill -ABRT $$")
    assert (done.exit.signal, done.tree) == (6, {})


async def test_limits_are_the_actions_not_the_workers(sandbox: Sandbox, tmp_path: Path) -> None:
    """Limits of one action do not reach the next."""
    await act(sandbox, tmp_path, "true", limits=Limits(open_files=20, file_bytes=1))
    done = await shell(sandbox, tmp_path, "ulimit -n; ulimit -f")
    assert int(done.out.split()[0]) > 20
    assert done.out.split()[1] == "unlimited"
