"""The public Python API, on a service of its own."""

import json
import math
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from builder.api import SandboxSpec, Service
from builder.base.errors import BuilderError, UsageError

ROOT = Path(__file__).parents[2]


def test_a_spec_is_built_step_by_step() -> None:
    """Each call adds to it; amounts may be texts."""
    spec = (
        SandboxSpec.builder()
        .input("src/**", "!src/old/**")
        .input("Makefile")
        .output("build/app", "docs/")
        .temp("/tmp")
        .env("MODE", "fast")
        .max_memory("512MiB")
        .max_cpu(2)
        .timeout("1m30s")
        .network()
        .max_processes(50)
        .enable_audit("cheap")
        .cache(False)
        .build()
    )
    assert spec == SandboxSpec(
        inputs=("src/**", "!src/old/**", "Makefile"),
        outputs=("build/app", "docs/"),
        environment={"MODE": "fast"},
        max_memory_bytes=512 * 1024**2,
        max_cpu_cores=2.0,
        timeout_s=90.0,
        network=True,
        cache=False,
        audit="cheap",
        max_processes=50,
    )


def test_a_spec_is_text_and_back() -> None:
    """Equal specs give equal text, whatever the order of calls; the text gives the spec again."""
    one = SandboxSpec.builder().env("A", "1").env("B", "2").hosts("b.org", "A.org").build()
    other = SandboxSpec.builder().hosts("a.org", "B.org").env("B", "2").env("A", "1").build()
    assert one.to_json() == other.to_json()
    spec = SandboxSpec.builder().input("a/*").output("b").deterministic().timeout("5s").build()
    listed = SandboxSpec.builder().programs("sh", "tools/").programs("cc").build()
    assert listed.programs == ("sh", "tools/", "cc")
    with pytest.raises(UsageError, match="names and paths, without commas"):
        SandboxSpec.builder().programs("a,b")
    still = SandboxSpec.builder().clock("1970-01-02T00:00:00Z").build()
    assert (still.clock, SandboxSpec.builder().clock().build().clock) == (86400, 315532800)
    with pytest.raises(UsageError, match="'noon' is no moment"):
        SandboxSpec.builder().clock("noon")
    for known in (SandboxSpec(), one, spec, listed, still):
        assert SandboxSpec.from_json(known.to_json()) == known
    for wrong in ("", "[]", "3", '{"colour": 1}', "{"):
        with pytest.raises(UsageError, match="no SandboxSpec"):
            SandboxSpec.from_json(wrong)


def test_a_preset_is_where_a_spec_begins() -> None:
    """What is said afterwards counts; the usual one is hermetic."""
    assert SandboxSpec.builder("hermetic").build() == SandboxSpec.builder().build()
    spec = SandboxSpec.builder("bounded").timeout("5s").build()
    assert (spec.max_processes, spec.timeout_s, spec.network) == (256, 5.0, False)
    assert SandboxSpec.builder("reproducible").build().deterministic
    assert not SandboxSpec.builder("networked").build().cache
    with pytest.raises(UsageError, match="use one of hermetic, reproducible, bounded, networked"):
        SandboxSpec.builder("loose")


@pytest.mark.parametrize(
    "wrong",
    [
        {"inputs": 3}, {"outputs": (1,)}, {"environment": {"A=B": "x"}}, {"environment": {"": "x"}},
        {"max_memory_bytes": 0}, {"max_cpu_cores": math.nan}, {"timeout_s": -1.0},
        {"timeout_s": "x"}, {"max_processes": 1.5}, {"network": "pypi.org"}, {"cache": None},
        {"audit": "deep"}, {"clock": "fixed"},
    ],
)  # fmt: skip
def test_there_is_no_spec_that_nothing_could_run(wrong: dict[str, Any]) -> None:
    """By whatever way it is made; the error names the field."""
    with pytest.raises(UsageError, match=next(iter(wrong))):
        SandboxSpec(**wrong)
    text = json.dumps(json.loads(SandboxSpec().to_json()) | wrong)
    with pytest.raises(UsageError, match=next(iter(wrong))):
        SandboxSpec.from_json(text)


def test_what_cannot_be() -> None:
    """Wrong amounts, and temporary files elsewhere, are refused at once."""
    with pytest.raises(UsageError, match="is not a size"):
        SandboxSpec.builder().max_memory("much")
    with pytest.raises(UsageError, match="temporary files go to /tmp"):
        SandboxSpec.builder().temp("/var/tmp")
    with pytest.raises(UsageError, match="use one of cheap, full"):
        SandboxSpec.builder().enable_audit("loud")
    with pytest.raises(UsageError, match="one process at least"):
        SandboxSpec.builder().max_processes(0)
    with pytest.raises(UsageError, match="'http://x' is no host"):
        SandboxSpec.builder().hosts("http://x")


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with Service.builder().pool(minimum=1).executor(slots=2).build() as service:
        yield service


@pytest.mark.slow
def test_execute(service: Service, tmp_path: Path) -> None:
    """Inputs go there, outputs come back; the second time from the cache."""
    (tmp_path / "name").write_text("you")
    (tmp_path / "other").write_text("not seen")
    spec = SandboxSpec.builder().input("name").output("out/hello").build()
    command = ["sh", "-c", "ls; echo Hello, $(cat name) > out/hello"]
    first = service.execute(command, spec, tmp_path)
    assert (first.ok, first.exit_code, first.cached) == (True, 0, False)
    assert first.stdout == b"name\nout\n"
    assert first.outputs == ("out/hello",)
    assert first.worker.startswith("worker-")
    assert (tmp_path / "out" / "hello").read_text() == "Hello, you\n"
    (tmp_path / "out" / "hello").unlink()
    second = service.execute(command, spec, tmp_path)
    assert (second.cached, second.stdout) == (True, b"name\nout\n")
    assert (tmp_path / "out" / "hello").exists()


@pytest.mark.slow
def test_what_the_spec_says_holds_on_the_worker(service: Service, tmp_path: Path) -> None:
    """Hosts and determinism reach the sandbox, and the result says with which network it was."""
    spec = SandboxSpec.builder().hosts("a.invalid").deterministic().clock(5).cache(False).build()
    script = "nproc; echo $TZ $https_proxy; date +%s"
    result = service.execute(["/bin/sh", "-c", script], spec, tmp_path)
    assert result.stdout == b"1\nUTC http://127.0.0.1:3128\n5\n"
    assert "with the network of a.invalid" in result.worker


@pytest.mark.slow
def test_audit(service: Service, tmp_path: Path) -> None:
    """What it uses beyond its declaration is told with the cure, from the cache too."""
    (tmp_path / "declared").write_text("1")
    (tmp_path / "other").write_text("2")
    spec = SandboxSpec.builder().input("declared").enable_audit().build()
    command = ["sh", "-c", "cat declared; test -e other || echo junk > left"]
    for cached in (False, True):
        result = service.execute(command, spec, tmp_path)
        assert (result.ok, result.cached) == (True, cached)
        assert result.audit[0].startswith("audit: 2 of ")
        assert any("declare it: 'inputs: [other]'" in line for line in result.audit)
        assert any("write   left (by sh)" in line for line in result.audit)


@pytest.mark.slow
def test_a_command_that_fails(service: Service, tmp_path: Path) -> None:
    """Is a result and no exception: its exit code, streams and reason."""
    result = service.execute(["sh", "-c", "echo bad >&2; exit 3"], directory=tmp_path)
    assert (result.ok, result.exit_code, result.stderr) == (False, 3, b"bad\n")
    assert result.reason == "exit code 3"
    spec = SandboxSpec.builder().timeout(0.5).build()
    stopped = service.execute(["sleep", "60"], spec, tmp_path)
    assert not stopped.ok
    assert "raise 'timeout'" in stopped.reason


@pytest.mark.slow
def test_inputs_that_are_not_there(service: Service, tmp_path: Path) -> None:
    """Nothing is run; the message names the input."""
    spec = SandboxSpec.builder().input("missing").build()
    with pytest.raises(UsageError, match="'missing' does not exist"):
        service.execute(["true"], spec, tmp_path)
    with pytest.raises(UsageError, match="the command is empty"):
        service.execute([])


@pytest.mark.slow
def test_metrics_and_the_end(tmp_path: Path) -> None:
    """What it has done is told while it runs; when it is stopped nothing of it is left."""
    service = Service.builder().pool(2).store(tmp_path / "store").enable_reapi().build()
    assert service.execute(["true"], directory=tmp_path).ok
    until = time.monotonic() + 120
    while (metrics := service.get_metrics())["workers"]["total"] < 2:
        assert time.monotonic() < until, metrics  # one is enough to have run it
        time.sleep(0.1)
    assert metrics["workers"]["total"] == 2
    assert int(metrics["executions"]["succeeded"]) == 1
    service.stop()
    service.stop()
    with pytest.raises(BuilderError, match="no coordinator answers"):
        service.execute(["true"], directory=tmp_path)
    assert (tmp_path / "store").is_dir()


HOLD = """
from builder.api import Service
service = Service.builder().pool(1).build()
service.execute(["true"])  # so there is a worker
print(service.address, flush=True)
input()
"""


@pytest.mark.slow
def test_nothing_outlives_the_program_that_started_it() -> None:
    """However that ends: its service and the workers end with it."""
    command = [sys.executable, "-c", HOLD]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        assert program.stdout.readline().startswith(b"127.0.0.1:")
        started = psutil.Process(program.pid).children(recursive=True)
        program.kill()
    assert len(started) > 1
    _, alive = psutil.wait_procs(started, timeout=60)
    assert alive == []


def test_a_service_that_cannot_start() -> None:
    """What it said is in the error."""
    with pytest.raises(BuilderError, match=r"did not start; it said:\nerror: .*coordinator"):
        Service.builder().coordinator("nowhere.invalid:0").build()


@pytest.mark.slow
def test_the_example(tmp_path: Path) -> None:
    """It runs as its first line says."""
    program = tmp_path / "words.py"
    program.write_bytes((ROOT / "examples" / "python-api" / "words.py").read_bytes())
    ran = subprocess.run(
        [sys.executable, program],
        env={"PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    assert "from the cache: True; it saw: ['build', 'words.py']" in ran.stdout
    assert "names used, all of them declared" in ran.stdout
    assert "workers: 2\n" in ran.stdout
