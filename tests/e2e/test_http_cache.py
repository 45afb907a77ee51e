"""The HTTP cache as its users reach it: Bazel, ccache and curl, unmodified."""

import hashlib
import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from tests.e2e.bazel import Bazel
from tests.e2e.service import FLAGS, Service, environment, running

pytestmark = pytest.mark.slow
COLOURLESS = ("--color=no", "--curses=no", "--show_progress_rate_limit=600")


def needs(program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed; see .ci/test")


def run(*argv: str, folder: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        argv,
        cwd=folder,
        env=environment(folder, **variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_bazel_builds_from_the_http_cache(bazel: Bazel, service: Service) -> None:
    """After a clean everything is a hit, and nothing was executed by the service."""
    address = service.address("Artifact storage")
    options = [f"--remote_cache=http://{address}", "--jobs=4", *COLOURLESS]
    options += ["--action_env=SALT=http", "--host_action_env=SALT=http"]
    before = service.status().executions.succeeded
    first = bazel.run("build", "//lib/...", "//gen/...", *options)
    assert first.code == 0, first.text
    local = sum(count for way, count in first.ways.items() if way != "internal")
    assert local >= 20
    assert bazel.run("clean").code == 0
    second = bazel.run("build", "//lib/...", "//gen/...", *options)
    assert second.code == 0, second.text
    assert second.ways.keys() == {"internal", "remote cache hit"}, second.ways
    assert second.ways["remote cache hit"] == local
    assert subprocess.run([bazel.output("lib/main_0")], stdout=subprocess.DEVNULL).returncode == 0
    assert service.status().executions.succeeded == before


def test_ccache_shares_objects_through_it(service: Service, tmp_path: Path) -> None:
    """A compilation is found again by a ccache whose own cache is empty."""
    needs("ccache")
    address = service.address("Artifact storage")
    (tmp_path / "unit.cc").write_text(f"int answer() {{ return {os.getpid()}; }}\n")

    def compile_with(cache: str) -> dict[str, int]:
        variables = {
            "CCACHE_DIR": str(tmp_path / cache),
            "CCACHE_REMOTE_STORAGE": f"http://{address}|layout=bazel",
            "CCACHE_SECONDARY_STORAGE": f"http://{address}|layout=bazel",  # the name before 4.7
        }
        made = run("ccache", "g++", "-c", "unit.cc", "-o", "unit.o", folder=tmp_path, **variables)
        assert made.returncode == 0, made.stderr
        told = run("ccache", "--print-stats", folder=tmp_path, **variables).stdout
        return {name: int(value) for name, value in map(str.split, told.splitlines())}

    first = compile_with("one")
    assert first["cache_miss"] == 1
    compiled = (tmp_path / "unit.o").read_bytes()
    (tmp_path / "unit.o").unlink()
    second = compile_with("two")
    assert second["cache_miss"] == 0
    assert second.get("remote_storage_hit", 0) + second.get("secondary_storage_hit", 0) >= 1
    assert (tmp_path / "unit.o").read_bytes() == compiled


def test_curl_puts_and_gets(service: Service, tmp_path: Path) -> None:
    """A large blob there and back, its head, one that is absent, and one that is not its name."""
    needs("curl")
    data = os.urandom(3_000_000)
    (tmp_path / "blob").write_bytes(data)
    url = f"http://{service.address('Artifact storage')}/cas/{hashlib.sha256(data).hexdigest()}"
    status = ["curl", "-sS", "-o", "got", "-w", "%{http_code}"]
    assert run(*status, url, folder=tmp_path).stdout == "404"
    assert run(*status, "-T", "blob", url, folder=tmp_path).stdout == "204"
    assert run(*status, url, folder=tmp_path).stdout == "200"
    assert (tmp_path / "got").read_bytes() == data
    assert "content-length: 3000000" in run("curl", "-sSI", url, folder=tmp_path).stdout.lower()
    wrong = f"{url[:-4]}0000"
    answer = run("curl", "-sS", "-T", "blob", wrong, folder=tmp_path)
    assert "the bytes are not those of" in answer.stdout


def test_a_taken_port_that_nobody_chose_is_a_warning(tmp_path: Path) -> None:
    """8080 is in use by something else: one line says so, and the service runs without it."""
    config = "role: coordinator\nstore: {{path: {folder}/store}}\n"
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", 8080))
            taken.listen()
        except OSError:
            pass  # something else has it already, which is as good
        flags = [flag for flag in FLAGS.split() if not flag.startswith("--workers")]
        flags = [flag for flag in flags if flag not in ("2", "20", "--autoscale")]
        with running(tmp_path, flags=flags, config=config) as service:
            [line] = [line for line in service.lines if line.startswith("[WARNING]")]
            assert "The HTTP artifact storage is off" in line
            assert "8080" in line
