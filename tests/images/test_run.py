"""Actions in images: by the worker's runner and the real sandbox, as root and as anybody else."""

import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from builder.base.errors import Code
from builder.images.cache import LayerCache
from builder.images.images import Allowed, Images
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.reapi.proof import proof_of
from builder.sandbox.native import open_sandbox
from tests.images.pictures import (
    Picture,
    directory,
    entry,
    layout,
    picture,
    symlink,
    system,
    tar,
    zstd,
)
from tests.worker.kit import Bench, shell

GIB = 1 << 30
STATIC = "int main(void) { return 7; }"


@pytest.fixture(scope="module")
def base() -> bytes:
    return system()


@asynccontextmanager
async def bench_of(place: Path, tags: Mapping[str, Picture]) -> AsyncIterator[Bench]:
    """A runner that takes images from a layout with these."""
    layout(place / "layout", tags)
    images = Images(LayerCache(str(place / "images"), GIB), Allowed(layouts=(str(place),)), GIB)
    try:
        async with open_sandbox(ready=1) as sandbox:
            yield Bench(place, sandbox=sandbox, images=images)
    finally:
        images.close()


async def run(
    bench: Bench, place: Path, script: str, tag: str, **fields: object
) -> pb.ExecuteResponse:
    platform = {"container-image": f"oci:{place}/layout:{tag}"}
    return await bench.run(shell(script, "out", **fields), {"in": b"data"}, platform=platform)


async def test_an_action_runs_in_its_image(base: bytes, tmp_path: Path) -> None:
    """Its programs are the image's, nothing is the host's, and the proof says which image."""
    upper = tar(directory("opt"), entry("opt/version", b"pictured\n"), entry("etc/.wh.gone"))
    one = picture(base, tar(entry("etc/gone")), upper, pack=zstd)
    async with bench_of(tmp_path, {"a": one}) as bench:
        script = "cat /opt/version in > out; ls /etc; ls -d /etc/gone /usr/bin/python3 || true"
        response = await run(bench, tmp_path, script, "a")
        result = response.result
        assert (result.exit_code, response.status.code) == (0, 0), response
        (file,) = result.output_files
        assert file.digest.size_bytes == len("pictured\ndata")
        assert sorted(result.stdout_raw.split())[:2] == [b"group", b"hosts"]
        assert result.stderr_raw.count(b"No such file") == 2
        proof = proof_of(result.execution_metadata)
        assert proof.image == f"oci:{tmp_path}/layout@{one.digest}"
        assert "mount-namespace" in proof.guarantees
        plain = await bench.run(shell("ls -d /opt/version || true"))
        assert b"No such file" in plain.result.stderr_raw
        assert proof_of(plain.result.execution_metadata).image == ""


async def test_environment_of_image_and_command(base: bytes, tmp_path: Path) -> None:
    """The image's variables are there, and the command's own win; its user, working directory
    and entry point do not count."""
    one = picture(
        base,
        environment=["FROM=image", "BOTH=image", "PATH=/opt/tools:/usr/bin:/bin"],
        User="0:0",
        WorkingDir="/opt",
        Entrypoint=["/bin/false"],
        Cmd=["never"],
    )
    async with bench_of(tmp_path, {"a": one}) as bench:
        mine = [pb.Command.EnvironmentVariable(name="BOTH", value="command")]
        script = 'echo "$FROM $BOTH $PATH"; id -u; pwd'
        response = await run(bench, tmp_path, script, "a", environment_variables=mine)
    assert response.result.stdout_raw.decode().splitlines() == [
        "image command /opt/tools:/usr/bin:/bin",
        "1000",
        "/builder/work",
    ]


async def test_modes_links_and_owners_inside(base: bytes, tmp_path: Path) -> None:
    """As the image says, everything belonging to the action's user; nothing can be changed."""
    upper = tar(
        directory("data", mode=0o1777),
        entry("data/secret", b"read by its owner\n", mode=0o600),
        entry("data/setuid", b"", mode=0o4755, uid=0),
        entry("data/others", b"", mode=0o644, uid=1234, gid=1234),
        symlink("data/absolute", "/data/secret"),
    )
    async with bench_of(tmp_path, {"a": picture(base, upper)}) as bench:
        script = """
        cat /data/absolute
        stat -c '%a %U %n' /data /data/secret /data/setuid /data/others
        for file in /data/new /data/others /usr/bin/cat; do
          (echo x >> $file) 2> /dev/null && echo WROTE $file
        done; true
        """
        response = await run(bench, tmp_path, script, "a")
    assert response.result.stdout_raw.decode().splitlines() == [
        "read by its owner",
        "1777 builder /data",
        "600 builder /data/secret",
        "755 builder /data/setuid",
        "644 builder /data/others",
    ], response


async def test_what_cannot_be_used_is_the_actions_fault(base: bytes, tmp_path: Path) -> None:
    """One clear refusal, with which no other worker is troubled; the worker goes on."""
    hostile = picture(base, tar(entry("../escaped", b"x")))
    async with bench_of(tmp_path, {"a": hostile, "b": picture(base)}) as bench:
        for tag, why in (("a", "leaves the image"), ("none", "has no tag 'none'")):
            response = await run(bench, tmp_path, "true", tag)
            assert response.status.code == Code.FAILED_PRECONDITION
            assert why in response.status.message
        platform = {"container-image": "docker://registry.example/x"}
        response = await bench.run(shell("true"), platform=platform)
        assert "not one of sandbox.images.registries" in response.status.message
        response = await run(bench, tmp_path, "true", "b")
        assert response.status.code == 0
    assert not list(tmp_path.rglob("escaped"))


async def test_a_worker_without_images_refuses(tmp_path: Path) -> None:
    """It says what would let them in, and runs nothing in its own system instead."""
    bench = Bench(tmp_path)
    response = await bench.run(shell("true"), platform={"container-image": "docker://r.example/x"})
    assert response.status.code == Code.FAILED_PRECONDITION
    assert "sandbox.images" in response.status.message
    assert response.result.execution_metadata.worker == "worker-1"


async def test_nothing_is_left_in_the_cache_to_be_written(base: bytes, tmp_path: Path) -> None:
    """After actions that tried, the unpacked layers are as they were."""
    async with bench_of(tmp_path, {"a": picture(base)}) as bench:
        before = state(tmp_path / "images/layers") or None
        assert before is None
        await run(bench, tmp_path, "true", "a")
        before = state(tmp_path / "images/layers")
        script = "rm -rf /usr /bin 2>/dev/null; chmod -R 777 / 2>/dev/null; : > /bin/cat; true"
        await run(bench, tmp_path, script, "a")
        assert state(tmp_path / "images/layers") == before
        assert len(before) > 5


def state(place: Path) -> list[tuple[str, int, int, float]]:
    return sorted(files(place))


def files(place: Path) -> Iterator[tuple[str, int, int, float]]:
    for folder, _, names in os.walk(place):
        for name in names:
            found = os.lstat(os.path.join(folder, name))
            yield os.path.join(folder, name), found.st_mode, found.st_size, found.st_mtime
