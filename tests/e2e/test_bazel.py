"""An unmodified Bazel builds and tests a C++ workspace on our workers."""

import hashlib
import os
import signal
import subprocess
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.bazel import staying
from tests.bazel.workspace import LIBRARIES, LISTING, SLOW, want
from tests.e2e.bazel import Answer, Bazel, remote
from tests.e2e.held import Held, holding
from tests.e2e.service import CONFIG, FROM_SOURCE, ROOT, Service, running

pytestmark = pytest.mark.slow
PORTS = ["--remote", "--coordinator", "127.0.0.1:0", "--reapi", "0", "--metrics", ":0"]
HELD = 3  # one that runs, and as many more as wait at a worker
ONE_SLOT = CONFIG.replace("worker: {{", "worker: {{slots: 1, ")
TESTS = LIBRARIES // 2 + 1  # one for every second library, and the one of the data files


def contents(folder: Path) -> dict[str, tuple[str, bool]]:
    """Hash and executable bit of every file that the build left, without Bazel's own notes."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_file() and not name.endswith((".runfiles_manifest", "MANIFEST")):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            found[name] = (digest, os.access(path, os.X_OK))
    return found


def test_everything_is_built_and_tested_on_our_workers_and_then_comes_from_the_cache(
    bazel: Bazel, service: Service
) -> None:
    """The first build is all remote, the second all cache hits, and both leave the same files."""
    options = remote(service.reapi, "everything")
    before = service.status().executions
    first = bazel.run("test", "//...", *options)
    assert first.code == 0, first.text
    assert first.ways.keys() == {"internal", "remote"}, first.ways
    assert first.ways["remote"] >= 60
    assert f"{TESTS} tests pass" in first.text
    after = service.status().executions
    assert after.succeeded - before.succeeded >= first.ways["remote"]
    made = contents(bazel.output(""))
    check_products(bazel)

    assert bazel.run("clean").code == 0
    second = bazel.run("test", "//...", *options)
    assert second.code == 0, second.text
    assert second.ways.keys() == {"internal", "remote cache hit"}, second.ways
    assert second.ways["remote cache hit"] == first.ways["remote"]
    outcomes = [
        Counter(one.outcome for one in service.actions(build.invocation))
        for build in (first, second)
    ]
    assert [set(one) for one in outcomes] == [{"succeeded"}, {"cached"}]
    assert [one.total() for one in outcomes] == [first.ways["remote"]] * 2
    assert service.status().executions.succeeded == after.succeeded
    assert contents(bazel.output("")) == made


def check_products(bazel: Bazel) -> None:
    """The programs run, the tree artifact is whole, and links and executable bits are kept."""
    for n in (0, 4, LIBRARIES - 2):
        out = subprocess.run([bazel.output(f"lib/main_{n}")], stdout=subprocess.PIPE, check=True)
        per_x = sum(10 + below for below in range(n + 1))  # each library adds 10 + n terms
        assert int(out.stdout) == want(n) + per_x * (n * n - 1)
    assert bazel.output("tree/folder_listing.txt").read_text() == LISTING
    tree = bazel.output("tree/folder")
    assert os.access(tree / "tool.sh", os.X_OK)
    assert (tree / "deep" / "er" / "plain.txt").is_file()
    assert (tree / "link.txt").read_text() == "plain\n"
    assert bazel.output("gen/hello.txt").read_text() == "hello from a generated script\n"
    assert bazel.output("gen/c.txt").read_text() == "a\n"


def test_a_broken_source_shows_what_the_compiler_said(bazel: Bazel, service: Service) -> None:
    """The compiler's own sentence, with file and line, is in Bazel's output."""
    answer = bazel.run("build", "//broken:broken", *remote(service.reapi, "broken"))
    assert answer.code == 1, answer.text
    assert "broken/broken.cc:1:23: error: 'undeclared_name' was not declared" in answer.text
    again = bazel.run("build", "//broken:broken", *remote(service.reapi, "broken"))
    assert again.code == 1, "a failed action is not taken from the cache"


def test_a_failing_test_runs_remotely_and_brings_its_log(bazel: Bazel, service: Service) -> None:
    """Exit code 3 is Bazel's for failed tests; the log comes back."""
    answer = bazel.run("test", "//broken:failing_test", *remote(service.reapi, "failing"))
    assert answer.code == 3, answer.text
    assert answer.ways.keys() <= {"internal", "remote"}, answer.ways
    log = bazel.workspace / "bazel-testlogs" / "broken" / "failing_test" / "test.log"
    assert "the log of the failing test" in log.read_text()


def test_a_test_that_reads_its_data_keeps_undeclared_outputs(
    bazel: Bazel, service: Service
) -> None:
    """Data files, a link and an executable reach the test, and what it wrote comes back."""
    answer = bazel.run("test", "//data:data_test", *remote(service.reapi, "data"))
    assert answer.code == 0, answer.text
    kept = bazel.workspace / "bazel-testlogs" / "data" / "data_test" / "test.outputs"
    assert list(kept.iterdir()), "no undeclared outputs"


def test_a_build_without_the_bytes_leaves_them_on_the_server(
    bazel: Bazel, service: Service
) -> None:
    """With --remote_download_minimal nothing is fetched, and later actions still find inputs.

    Bazel 4 refuses links among outputs in this mode, so the packages that make them stay out.
    """
    assert bazel.run("clean").code == 0
    minimal = remote(service.reapi, "minimal", "--remote_download_minimal")
    answer = bazel.run("test", "//lib/...", *minimal)
    assert answer.code == 0, answer.text
    assert answer.ways.keys() - {"internal"} == {"remote"}, answer.ways
    assert not bazel.output("lib/main_4").exists()
    fetched = bazel.run("build", "//lib:main_4", *remote(service.reapi, "minimal"))
    assert fetched.code == 0, fetched.text
    assert subprocess.run([bazel.output("lib/main_4")]).returncode == 0


def test_a_killed_worker_costs_time_but_not_the_build(bazel: Bazel, service: Service) -> None:
    """kill -9 of a worker in the middle of an action: the action runs again elsewhere."""
    with bazel.start("build", "//slow:slow", *remote(service.reapi, "killed")) as build:
        status = service.until("an action runs", lambda s: s.queue.executing > 0)
        busy = next(worker for worker in status.worker if worker.slots_busy)
        os.kill(busy.pid, signal.SIGKILL)
        text, _ = build.communicate(timeout=200)
    assert build.returncode == 0, text
    assert f"{SLOW} remote" in text
    for n in range(SLOW):
        assert bazel.output(f"slow/slow_{n}.txt").read_text() == f"{n}\n"
    service.until(
        "the pool has two workers again, and the dead one is not among them",
        lambda s: s.workers.total >= 2 and busy.pid not in {worker.pid for worker in s.worker},
    )


def test_a_tool_stays_for_the_next_target(bazel: Bazel, service: Service) -> None:
    """One program serves them all: the scheduler sends each to the worker that has it."""
    staying.write(bazel.workspace / "staying")
    targets = [f"//staying:t{number}" for number in range(staying.TARGETS)]
    answer = bazel.run("build", *targets, *remote(service.reapi), "--jobs=1")
    assert answer.code == 0, answer.text
    assert answer.ways["remote"] == staying.TARGETS
    told = [bazel.output(f"staying/t{n}.out").read_text() for n in range(staying.TARGETS)]
    assert sorted(told) == [f"SOURCE, request {n + 1}\n" for n in range(staying.TARGETS)]
    workers = Counter(one.worker for one in service.actions(answer.invocation))
    assert len(workers) == 1, workers


def test_what_waits_behind_a_slow_action_is_taken_by_another_worker(
    bazel: Bazel, tmp_path: Path
) -> None:
    """With work stealing: Bazel gets one right result for each action, whoever it was given to."""
    flags = ["--workers-min", "1", "--workers-max", "2", "--work-stealing", *PORTS]
    with ExitStack() as stack:
        held = stack.enter_context(holding())
        service = stack.enter_context(running(tmp_path, flags=flags, config=ONE_SLOT))
        targets = held_build(bazel, held)
        build = stack.enter_context(
            bazel.start("build", *targets, *remote(service.reapi, "stolen"))
        )
        with held:
            service.until("two wait behind one", lambda s: s.stealing.backlog == HELD - 1)
            (first,) = service.status().worker
            scale = ["remote", "scale", "--coordinator", service.coordinator, "--workers", "2"]
            subprocess.run([*FROM_SOURCE, *scale], cwd=ROOT, check=True, capture_output=True)
            service.until("one is taken", lambda s: s.stealing.moved > 0)
        text, _ = build.communicate(timeout=300)
        answer = Answer(build.returncode, text)
        rows = service.actions(answer.invocation)
        status = service.status()
    assert answer.code == 0, answer.text
    assert answer.ways["remote"] == HELD, answer.ways
    assert len({one.action for one in rows}) == len(rows) == status.queue.completed == HELD
    assert {one.outcome for one in rows} == {"succeeded"}
    assert len({one.worker for one in rows}) == 2
    assert first.name in {one.worker for one in rows}
    for n in range(HELD):
        assert bazel.output(f"held/{n}.txt").read_text() == f"{n}\n"


def held_build(bazel: Bazel, held: Held) -> list[str]:
    """Targets, of no other build, whose actions stop themselves until they are let go."""
    rules = []
    for n in range(HELD):
        command = held.script(f"echo {n} > $@").replace("$$", "$$$$")
        rules.append(
            f'genrule(name = "held_{n}", outs = ["{n}.txt"], tags = ["manual"], cmd = "{command}")'
        )
    folder = bazel.workspace / "held"
    folder.mkdir()
    (folder / "BUILD").write_text("\n".join(rules) + "\n")
    return [f"//held:held_{n}" for n in range(HELD)]
